"""The choice of `auto` on a CPU: the type in which a checkpoint is computed, and whether its weights become int8.

    small model                          float32, none      as it was trained: its texts never depend on the processor
    large, units for bfloat16            bfloat16, none     half the bytes, and two to three times as fast
    large, without such units            float32, none
    large, and neither fits with a       int8 in the same type, then int8 in bfloat16
    request, its file included

So nothing is chosen that would make the system swap, or read its weights from the disk for every step. What was said in
the settings is never changed. Where nothing fits, the first choice stands, and is refused with the numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from app.engine.device.devices import computes_bfloat16, is_large
from app.engine.room.estimate import Estimate


def chosen(estimate: Estimate, device: torch.device, free_bytes: int | None) -> Estimate:
    """The estimate with the quantization, and where it has to be the type, that `auto` means on a device of which so
    many bytes are free."""
    first, *others = _candidates(estimate, device)
    if free_bytes is None or _fits(first, device, free_bytes):
        return first
    return next((other for other in others if _fits(other, device, free_bytes)), first)


def why(estimate: Estimate, device: torch.device) -> str:
    """The reason for what is chosen on a device, in words; empty where the settings leave no choice."""
    config = estimate.config
    if device.type != "cpu" or (config.dtype != "auto" and config.quantization != "auto"):
        return ""
    size = f"{estimate.num_weights / 1e6:,.0f} million weights"
    if not is_large(estimate.num_weights):
        return f"{size} are few"
    units = "with" if computes_bfloat16() else "without"
    return f"{size}, on a CPU {units} units for bfloat16"


def _candidates(estimate: Estimate, device: torch.device) -> Iterator[Estimate]:
    config = estimate.config
    if config.quantization != "auto":
        yield estimate
        return
    yield estimate.changed(quantization="none")
    if device.type == "cpu" and is_large(estimate.num_weights):
        for changes in _SMALLER:
            if "dtype" not in changes or config.dtype == "auto":
                yield estimate.changed(**changes)


_SMALLER: tuple[dict[str, Any], ...] = ({"quantization": "int8"}, {"quantization": "int8", "dtype": "bfloat16"})


def _fits(estimate: Estimate, device: torch.device, free_bytes: int) -> bool:
    """Whether it fits with all that is mapped, which would otherwise be read anew in every step."""
    need = estimate.need(device, free_bytes)
    return need.least + need.weights.mapped <= free_bytes
