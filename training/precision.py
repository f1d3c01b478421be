"""Chooses the precision of a run: bfloat16 where the hardware multiplies it faster, float32 elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

import torch

WORTHWHILE = 1.5
"""The factor by which matrix products in bfloat16 must be faster on a CPU to be used."""


def is_bf16_worthwhile(device: torch.device) -> bool:
    """Whether bfloat16 is faster; measured on a CPU, where it is several times faster with AVX-512-BF16 or AMX, and
    much slower without them."""
    if device.type != "cpu":
        return True
    return _product_seconds(torch.float32) > WORTHWHILE * _product_seconds(torch.bfloat16)


def _product_seconds(dtype: torch.dtype) -> float:
    left, right = torch.randn(512, 512).to(dtype), torch.randn(512, 512).to(dtype)
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        left @ right
        seconds.append(time.perf_counter() - started)
    return median(seconds)


@contextmanager
def bf16_computation(device: torch.device, *, enabled: bool) -> Iterator[None]:
    """Computes forward and backward in bfloat16 where autocast finds that safe, in this thread only."""
    with torch.autocast(device.type, torch.bfloat16, enabled=enabled):
        yield
