"""Which device and which arithmetic."""

from __future__ import annotations

import torch

from app.engine.config import DTypeName
from app.engine.errors import EngineError


def choose_device(preference: str, memory_threshold: float = 1.0, needed_bytes: int = 0) -> torch.device:
    """`auto` takes the CUDA device with most free memory, then MPS, then the CPU.

    Args:
        memory_threshold: `auto` passes over a CUDA device of which a larger share would be in use.
        needed_bytes: what is about to be put there.

    Raises:
        EngineError: the device that was asked for is not there.
    """
    if preference == "auto":
        return _best_device(memory_threshold, needed_bytes)
    try:
        device = torch.device(preference)
    except RuntimeError as error:
        raise EngineError(f"device {preference!r} is unknown; use auto, cpu, cuda, cuda:N or mps") from error
    if device.type not in ("cpu", "cuda", "mps"):
        raise EngineError(f"device {preference!r} cannot run a model; use auto, cpu, cuda, cuda:N or mps")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise EngineError(f"device {preference} is not there; {torch.cuda.device_count()} CUDA devices were found")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise EngineError("device mps is not there; use auto or cpu")
    return device


def _best_device(memory_threshold: float, needed_bytes: int) -> torch.device:
    if torch.cuda.is_available():
        memory = [torch.cuda.mem_get_info(index) for index in range(torch.cuda.device_count())]
        roomy = {
            index: free
            for index, (free, total) in enumerate(memory)
            if (total - free + needed_bytes) / total <= memory_threshold
        }
        return torch.device("cuda", max(roomy, key=roomy.__getitem__)) if roomy else torch.device("cpu")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_dtype(name: DTypeName, device: torch.device) -> torch.dtype:
    """auto: bfloat16 on CUDA, float32 elsewhere; a CPU without bfloat16 units is many times slower in it."""
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return _DTYPES[name]


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory was short. The CPU's allocator has no error type of its own, only its words."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)


def row_quantum(device: torch.device) -> int:
    """Rows that a batch is filled up to a multiple of: enough for each thread's share to be an ordinary one."""
    return 8 * torch.get_num_threads() if device.type == "cpu" else 16
