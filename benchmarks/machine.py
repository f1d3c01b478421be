"""The machine of a measurement: its description, its limits, and how time and memory are measured on it."""

from __future__ import annotations

import platform
import re
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")

T = TypeVar("T")


def describe() -> dict[str, Any]:
    """The commit, processor, threads and versions of a measurement."""
    return {
        "commit": _output("git", "rev-parse", "--short", "HEAD") + ("+" if _output("git", "status", "-s") else ""),
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def limits(device: torch.device = CPU, dtype: torch.dtype = torch.float32) -> dict[str, float]:
    """The measured peaks: of matrix products of a step's size, and of reading memory that no cache holds."""
    rows, width = (512, 1024) if device.type == "cpu" else (8192, 8192)
    left, right = (torch.randn(size, width, device=device, dtype=dtype) for size in (rows, width))
    large = torch.randn(2**26 if device.type == "cpu" else 2**29, device=device)
    product_s = best_s(lambda: finished(left @ right, device), repeats=20)
    sum_s = best_s(lambda: finished(large.sum(), device), repeats=5)
    return {
        f"{name_of(dtype)}_gflops": round(2 * rows * width * width / product_s / 1e9, 1),
        "read_gb_per_s": round(large.numel() * 4 / sum_s / 1e9, 1),
    }


def name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def finished(result: Any, device: torch.device) -> Any:
    """The result, once the device has finished; a GPU works on while the clock is read."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return result


def reset_peak(device: torch.device = CPU) -> None:
    """Resets `peak_bytes`; on a CPU that needs Linux, and elsewhere the peak is that of the whole process."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")


def peak_bytes(device: torch.device = CPU) -> int:
    """The peak memory of tensors on a GPU, or of this process on a CPU; `getrusage` would include the parent's peak."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024  # type: ignore[index]


def timed_s(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def best_s(work: Callable[[], Any], repeats: int) -> float:
    """The shortest of several times, which is that of an undisturbed machine."""
    return min(timed_s(work) for _ in range(repeats))


def interleaved_s(works: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """The seconds of each work, from `interleaved`."""
    return interleaved({name: partial(timed_s, work) for name, work in works.items()}, rounds)


def interleaved(works: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """The results of works that run in turns, so that a disturbance affects all; the first round warms up."""
    results: dict[str, list[T]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            result = work()
            if number:
                results[name].append(result)
    return results


def median_ratio(slow: list[float], fast: list[float]) -> float:
    """The median of the ratios of each round, since times of one round met the same machine."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _processor() -> str:
    for line in _output("lscpu").splitlines():
        if line.startswith("Model name:"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
