"""Checks of the machine: Python, PyTorch, devices, memory and threads."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator

from app.cli.doctor.finding import Finding, ok, problem, warning

SCARCE_BYTES = 1 << 30
"""The free memory below which not even a small model answers well."""


def check_machine() -> Iterator[Finding]:
    """The findings about the machine."""
    yield _python()
    try:
        import torch

        import app.engine  # noqa: F401 - sets what PyTorch reads when it is imported
    except (ImportError, OSError) as error:
        yield problem(f"PyTorch cannot be imported: {error}; install it again with pip install -r requirements.txt")
        return
    yield ok(f"PyTorch {torch.__version__} is installed.")
    yield from _devices()
    yield _memory()
    yield _threads()


def _python() -> Finding:
    fact = f"Python {platform.python_version()} runs on {platform.system()} {platform.machine()}"
    if sys.maxsize < 2**32:
        return problem(f"{fact}, with 32 bits; install one with 64 bits, for weights do not fit otherwise")
    return ok(f"{fact}.")


def _devices() -> Iterator[Finding]:
    import torch

    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            yield _cuda_device(index)
    elif torch.version.cuda or torch.version.hip:
        yield warning("PyTorch is built for GPUs and finds none; see whether nvidia-smi does, and what it says")
    elif shutil.which("nvidia-smi"):
        yield warning(
            "this machine has a driver for NVIDIA GPUs, and PyTorch is a build for CPUs; install the build for CUDA "
            "that https://pytorch.org/get-started names"
        )
    elif torch.backends.mps.is_available():
        yield ok(
            "Models run on the CPU. PyTorch can use this machine's GPU too, but nobody has run this server on one of "
            "its kind: DIFFUSION_DEVICE_PREFERENCE=mps tries it."
        )
    else:
        yield ok("There is no GPU; models run on the CPU.")


def _cuda_device(index: int) -> Finding:
    import torch

    name = f"cuda:{index} ({torch.cuda.get_device_name(index)})"
    try:
        square = torch.ones(8, 8, device=f"cuda:{index}")
        (square @ square).sum().item()
        free, total = torch.cuda.mem_get_info(index)
    except RuntimeError as error:
        first_line, *_ = str(error).splitlines()
        return problem(
            f"{name} cannot compute: {first_line}; install a PyTorch that knows this GPU, or free its memory"
        )
    return ok(f"{name} computes, and has {free / 1e9:.1f} of {total / 1e9:.1f} GB free.")


def _memory() -> Finding:
    from app.engine.device.memory import device_memory

    memory = device_memory("cpu")
    assert memory is not None, "the memory of the CPU is always known"
    fact = f"{memory.free_bytes / 1e9:.1f} of {memory.total_bytes / 1e9:.1f} GB of memory are free"
    return ok(f"{fact}.") if memory.free_bytes >= SCARCE_BYTES else warning(f"{fact}; end other programs")


def _threads() -> Finding:
    import torch

    num_threads, num_cores = torch.get_num_threads(), usable_cores()
    fact = f"PyTorch computes with {num_threads} threads on {num_cores:g} usable cores"
    if num_threads > num_cores:
        return warning(f"{fact}; they wait for each other, so set OMP_NUM_THREADS={max(1, int(num_cores))}")
    return ok(f"{fact}.")


def usable_cores() -> float:
    """The number of cores that this process may use; a container may get a fraction of one."""
    from app.engine.device.memory import CGROUP

    num_cores = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    try:
        quota, period = (CGROUP / "cpu.max").read_text().split()
        return min(num_cores, int(quota) / int(period))
    except (OSError, ValueError):  # there is no such file, or it says "max"
        return num_cores
