"""The choice of device and arithmetic, and the meaning of a device's errors."""

from __future__ import annotations

import errno
import logging
import re

import torch

from app.engine.interface.config import DTypeName
from app.engine.interface.errors import EngineError

log = logging.getLogger(__name__)


def choose_device(preference: str, memory_threshold: float = 1.0, needed_bytes: int = 0) -> torch.device:
    """The device of that name; `auto` is the CUDA device with most free memory, or the CPU.

    `auto` never takes MPS: nobody has run this engine on it. By its name it can be tried.

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


def home_device(memory_threshold: float, needed_bytes: int) -> torch.device | None:
    """The largest CUDA device that would hold so much if it held nothing else: where weights belong that `auto` had to
    put on the CPU. `None` where no device is large enough."""
    sizes = {
        index: memory[1] for index, memory in _cuda_memory().items() if needed_bytes <= memory_threshold * memory[1]
    }
    return torch.device("cuda", max(sizes, key=sizes.__getitem__)) if sizes else None


def _best_device(memory_threshold: float, needed_bytes: int) -> torch.device:
    roomy = {
        index: free
        for index, (free, total) in _cuda_memory().items()
        if (total - free + needed_bytes) / total <= memory_threshold
    }
    return torch.device("cuda", max(roomy, key=roomy.__getitem__)) if roomy else torch.device("cpu")


def cuda_devices() -> list[torch.device]:
    """The CUDA devices that can be used."""
    return [torch.device("cuda", index) for index in _cuda_memory()]


def _cuda_memory() -> dict[int, tuple[int, int]]:
    """Free and all bytes of each CUDA device that can be used; one whose context is broken says nothing. What PyTorch
    has reserved for its next allocations is free."""
    memory: dict[int, tuple[int, int]] = {}
    for index in range(torch.cuda.device_count()) if torch.cuda.is_available() else ():
        try:
            free, total = torch.cuda.mem_get_info(index)
            reserved = torch.cuda.memory_reserved(index) - torch.cuda.memory_allocated(index)
            memory[index] = free + reserved, total
        except RuntimeError as error:
            log.warning("cuda:%d is passed over: %s", index, first_line(error))
    return memory


_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


LARGE_MODEL = 2**28
"""Weights from which on a model is large to `auto`: 1 GB in float32. Smaller ones are fast enough as they are."""


def choose_dtype(name: DTypeName, device: torch.device, num_weights: int = 0) -> torch.dtype:
    """auto: bfloat16 on CUDA, and for a large model on a CPU with units for it; float32 elsewhere, for a CPU without
    them is many times slower in bfloat16."""
    if name != "auto":
        return _DTYPES[name]
    is_halved = device.type == "cpu" and is_large(num_weights) and computes_bfloat16()
    return torch.bfloat16 if device.type == "cuda" or is_halved else torch.float32


def is_large(num_weights: int) -> bool:
    """Whether `auto` may compute a model of so many weights otherwise than it was trained."""
    return num_weights >= LARGE_MODEL


def computes_bfloat16() -> bool:
    """Whether the CPU has units for bfloat16: AVX512_BF16, which those with AMX have too."""
    return torch.cpu._is_avx512_bf16_supported()


def has_float64(device: torch.device) -> bool:
    """Whether tensors of double precision can be there; Metal has none."""
    return device.type != "mps"


_OUT_OF_MEMORY = re.compile(
    r"""
    # PyTorch's allocators, calls of the runtime and the driver in words of all ages, ONNX Runtime, bitsandbytes
    (?<!['"])\b((CUDA|HIP|MPS|XPU)\w*|GPU|error|failure)\b [^'"\n]{0,40}? \bout\ of\ memory\b
    | \b(cuda|hip)\ (runtime\ error\ \(2\)|failure\ 2\b)
    | \b(cuda|hip)Error(MemoryAllocation|OutOfMemory)\b
    | \b(CUDA|HIP)_ERROR_OUT_OF_MEMORY\b
    | \b(CU|HIP)[A-Z]+_(STATUS_)?ALLOC_FAILED\b   # cuBLAS, cuDNN, cuSPARSE, cuSOLVER, cuFFT, hipBLAS
    | \brocblas_status_memory_error\b
    | \bmiopenStatusAllocFailed\b
    | \bInvalid\ buffer\ size:\ [\d.]+\ \w+      # Metal, of a buffer that is larger than any may be
    | \bDefaultCPUAllocator:\ (can't\ allocate|not\ enough)\ memory
    | \bbad_alloc\b                             # C++, ONNX Runtime among it
    | \bbad\ allocation\b                       # the same by Microsoft's library
    | \bFailed\ to\ allocate\ memory\ for\ requested\ buffer\b
    | \bAvailable\ memory\ of\ \d+\ is\ smaller\ than\ requested\ bytes\b
    | \bCannot\ allocate\ memory\b               # the system, of a file that is to be mapped
    """,
    re.IGNORECASE | re.VERBOSE,
)

_BROKEN = re.compile(
    r"""
    \bdevice-side\ assert\ triggered
    | \billegal\ (memory\ access|instruction|address|barrier)\b
    | \bmisaligned\ address\b
    | \binvalid\ (program\ counter|pc)\b
    | \bhardware\ stack\ error\b
    | \boperation\ not\ supported\ on\ global/shared\ address\ space\b
    | \bunspecified\ launch\ (failure|timeout)\b
    | \blaunch\ timed\ out\ and\ was\ terminated\b
    | \buncorrectable\ (ECC|NVLink)\ error\b
    | \bcontext\ is\ destroyed\b
    | \b(CUDA|HIP)\ error:\ unknown\ error\b
    | \bGPU\ is\ lost\b
    | \bdevice\ lost\b
    """,
    re.IGNORECASE | re.VERBOSE,
)

_FOREIGN = ("onnxruntime.",)
"""Libraries whose errors are exceptions of their own, below no common one."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was short. Few libraries have an error type for that; the others have their words."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return _is_a_devices(error) and bool(_OUT_OF_MEMORY.search(str(error))) and not _BROKEN.search(str(error))


def is_broken(error: BaseException) -> bool:
    """Whether the device can do nothing more for this process: after a failed assertion or an illegal access on it,
    every call fails, until the process ends."""
    return _is_a_devices(error) and bool(_BROKEN.search(str(error)))


def _is_a_devices(error: BaseException) -> bool:
    return isinstance(error, RuntimeError) or type(error).__module__.startswith(_FOREIGN)


def first_line(error: BaseException) -> str:
    """The first line of a device's error, without the advice that follows."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def row_quantum(device: torch.device) -> int:
    """Rows that a batch is filled up to a multiple of: enough for each thread's share to be an ordinary one, and at
    least 16, below which matrix products take other kernels on one thread."""
    return max(16, 8 * torch.get_num_threads()) if device.type == "cpu" else 16
