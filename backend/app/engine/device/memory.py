"""Memory of a device: how much there is, how much is taken, and how unused memory is given back."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil
import torch

from app.engine.device import allocator

CGROUP = Path("/sys/fs/cgroup")


class DeviceMemory(NamedTuple):
    """Bytes. What PyTorch has reserved for its next allocations is not in use: it is free at once."""

    used_bytes: int
    total_bytes: int

    @property
    def free_bytes(self) -> int:
        return max(0, self.total_bytes - self.used_bytes)

    def share_with(self, more_bytes: int) -> float:
        """Share in use once `more_bytes` are taken too."""
        return (self.used_bytes + more_bytes) / self.total_bytes


class Need(NamedTuple):
    """The memory that a request may take of a device beside the weights."""

    num_tokens: int
    """Tokens in one forward pass at most."""
    num_rows: int
    """Rows of logits in one forward pass at most."""
    num_cached: int = 0
    """Tokens whose keys and values are cached already: they are in the device's memory."""
    max_cached: int = 0
    """Tokens whose keys and values may be cached."""
    num_distributions: int = 0
    """Rows of the last step's distributions that are cached already."""
    max_distributions: int = 0
    """Rows of distributions that may be cached, those of the step that runs among them."""


def device_memory(device: str | torch.device) -> DeviceMemory | None:
    """The memory of a device; `None` where it does not say, is not there, or is none, for a model that a user has added
    may call its device as it likes. Takes well under a millisecond."""
    device = _known(device)
    if device.type == "cpu":
        return _host_memory()
    if device.type == "cuda" and torch.cuda.is_available():
        try:
            free, total = torch.cuda.mem_get_info(device)
        except RuntimeError:  # its context is broken
            return None
        reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return DeviceMemory(total - free - reserved, total)
    if device.type == "mps" and torch.backends.mps.is_available():
        return DeviceMemory(torch.mps.current_allocated_memory(), torch.mps.recommended_max_memory())
    return None


def logits_budget(min_bytes: int, device: str | torch.device) -> int:
    """Bytes that the logits of one step may take: `min_bytes`, or on a GPU, which holds little else than weights, up to
    a quarter of what is free beside these."""
    memory = device_memory(device) if _known(device).type == "cuda" else None
    return min_bytes if memory is None else max(min_bytes, memory.free_bytes // 4)


def held_bytes(device: str | torch.device) -> int:
    """Bytes that this process holds there, in use or not."""
    device = _known(device)
    if device.type == "cuda" and torch.cuda.is_available():
        return torch.cuda.memory_reserved(device)
    if device.type == "mps" and torch.backends.mps.is_available():
        return torch.mps.driver_allocated_memory()
    return allocator.resident_bytes() if device.type == "cpu" else 0


def free_caches(device: str | torch.device) -> None:
    """Gives back memory that is reserved for later. From any thread; takes some hundredths of a second."""
    device = _known(device)
    allocator.give_back()
    if device.type == "cuda" and torch.cuda.is_available():
        with suppress(RuntimeError):  # its context is broken, and has nothing to give back
            torch.cuda.empty_cache()
    elif device.type == "mps" and torch.backends.mps.is_available():
        torch.mps.empty_cache()


def _known(device: str | torch.device) -> torch.device:
    """The device of that name, or one without memory."""
    try:
        return torch.device(device)
    except RuntimeError:
        return torch.device("meta")


def _host_memory() -> DeviceMemory:
    """The memory of the machine, or of the container where that has less."""
    machine = psutil.virtual_memory()
    host = DeviceMemory(machine.total - machine.available, machine.total)
    limit, used = _cgroup_bytes("memory.max"), _cgroup_bytes("memory.current")
    if limit is None or used is None or limit >= host.total_bytes:
        return host
    # The page cache counts as used there, and goes as soon as someone needs it: so do mapped checkpoint files.
    return DeviceMemory(max(0, used - _cgroup_reclaimable_bytes()), limit)


def _cgroup_bytes(name: str) -> int | None:
    try:
        return int((CGROUP / name).read_text())
    except (OSError, ValueError):  # there is no such file, or it says "max"
        return None


def _cgroup_reclaimable_bytes() -> int:
    try:
        lines = (CGROUP / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith(("inactive_file ", "active_file ")))
