"""Chooses the precision of a run: bfloat16 where the hardware multiplies it faster, float32 elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

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


@contextmanager
def quick_attention(device: torch.device, *, is_bf16: bool) -> Iterator[None]:
    """Selects the faster attention kernel, for all threads.

    On a CPU in bfloat16 that is two plain products: the fused kernel of PyTorch 2.13 needs four times as long for
    forward and backward of short sequences.
    """
    if device.type != "cpu" or not is_bf16:
        yield
        return
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)  # despite its name, for CPUs too
    with sdpa_kernel(SDPBackend.MATH):
        yield
