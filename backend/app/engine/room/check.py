"""Refuses a checkpoint for which there is no room, with the numbers and with what would make it fit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import torch

from app.engine.device.devices import choose_device, cuda_devices
from app.engine.device.memory import DeviceMemory, device_memory, free_caches
from app.engine.interface.errors import OutOfDeviceMemory
from app.engine.request.context import ContextWindow
from app.engine.room.choice import chosen
from app.engine.room.estimate import Estimate, MemoryNeed, PassBytes

_SMALLER: tuple[dict[str, Any], ...] = (
    {"dtype": "bfloat16"},
    {"quantization": "int8"},
    {"quantization": "int8", "dtype": "bfloat16"},
    {"quantization": "nf4"},
    {"quantization": "nf4", "dtype": "bfloat16"},
)
"""Changes of the configuration that make a checkpoint smaller, the ones that cost least first."""
_MOST_WAYS = 2
"""The number of these that an error names."""


def preferred_device(estimate: Estimate) -> torch.device:
    """Gives the device of the configuration; for `auto` the CUDA device with most room for the checkpoint, or the CPU.

    Raises:
        EngineError: the device that was asked for is not there.
    """
    config = estimate.config
    return choose_device(config.device, config.memory_threshold, estimate.least_on_cuda)


def check_room(estimate: Estimate, device: torch.device) -> MemoryNeed:
    """Gives what a checkpoint will take of a device.

    Raises:
        OutOfDeviceMemory: the device lacks the memory for it and for one request. Says what is needed, what is free,
            and what would fit.
    """
    memory = device_memory(device)
    estimate = chosen(estimate, device, memory.free_bytes if memory else None)
    need = estimate.need(device, memory.free_bytes if memory else None)
    if memory is not None and need.least > memory.free_bytes:
        free_caches(device)  # of what other models left
        memory = device_memory(device) or memory
        if need.least > memory.free_bytes:
            raise OutOfDeviceMemory(_refusal(estimate, device, need, memory))
    return need


def in_words(estimate: Estimate, need: MemoryNeed) -> str:
    """Gives what a checkpoint needs at least, and for what: `2.4 GB: 400 MB for weights in float32, 2.0 GB for …`."""
    weights = need.weights
    parts = [f"{size_of(weights.held)} for weights in {form_in_words(need)}"] if weights.held else []
    parts.append(_of_request(estimate.window, need.one))
    if weights.loading > need.one.all:
        parts[-1] = f"{size_of(weights.loading)} for a copy of one of them while they are read"
    if weights.mapped:
        parts.append(f"and for speed {size_of(weights.mapped)} for weights that stay in their files")
    return f"{size_of(need.least)}: {', '.join(parts)}"


def form_in_words(need: MemoryNeed) -> str:
    """Gives the type and the quantization of a checkpoint's weights: `bfloat16 and int8`."""
    return " and ".join([str(need.dtype).removeprefix("torch."), *({need.quantization} - {"none"})])


def size_of(num_bytes: int) -> str:
    """A number of bytes in words."""
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"


def _of_request(window: ContextWindow, one: PassBytes) -> str:
    sizes = (("cache", one.cache), ("logits", one.logits), ("states", one.states))
    shares = ", ".join(f"{name} {size_of(size)}" for name, size in sizes if size)
    return f"{size_of(one.all)} for {window.capacity} new tokens behind {window.num_given} ({shares})"


def _refusal(estimate: Estimate, device: torch.device, need: MemoryNeed, memory: DeviceMemory) -> str:
    free = f"{size_of(memory.free_bytes)} of {size_of(memory.total_bytes)} are free on {device}"
    if estimate.config.device == "auto":
        free += "".join(_free_elsewhere(device))
    return f"{estimate.name} needs {in_words(estimate, need)}; {free}. {_way_out(estimate, device, memory)}"


def _free_elsewhere(device: torch.device) -> Iterable[str]:
    for other in cuda_devices():
        memory = device_memory(other)
        if other != device and memory is not None:
            yield f", {size_of(memory.free_bytes)} of {size_of(memory.total_bytes)} on {other}"


def _way_out(estimate: Estimate, device: torch.device, memory: DeviceMemory) -> str:
    ways = list(islice(_smaller(estimate, device, memory), _MOST_WAYS))
    if _fits_without_requests(estimate.need(device), memory):
        ways.append("a smaller DIFFUSION_MAX_LENGTH leaves a request less")
    return f"{'; '.join(ways) or 'No setting makes it small enough: free memory, or take a smaller checkpoint'}."


def _smaller(estimate: Estimate, device: torch.device, memory: DeviceMemory) -> Iterator[str]:
    """The settings by which it would fit."""
    for changes in _SMALLER:
        other = estimate.changed(**changes)
        need = other.need(device)
        if other.config != estimate.config and need.least <= memory.free_bytes:
            names = " with ".join(f"DIFFUSION_{field.upper()}={value}" for field, value in changes.items())
            yield f"{names} needs {in_words(other, need)}"


def _fits_without_requests(need: MemoryNeed, memory: DeviceMemory) -> bool:
    return need.weights.held + need.weights.loading < memory.free_bytes
