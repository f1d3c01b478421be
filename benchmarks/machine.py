"""What a result was measured on, and what that machine can do at most."""

from __future__ import annotations

import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]


def describe() -> dict[str, Any]:
    """Commit, processor, threads and versions."""
    return {
        "commit": _output("git", "rev-parse", "--short", "HEAD") + ("+" if _output("git", "status", "-s") else ""),
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def limits() -> dict[str, float]:
    """Measured peaks: float32 matrix products of the size that a step has, and reading memory that no cache holds."""
    left, right = torch.randn(512, 1024), torch.randn(1024, 1024)
    large = torch.randn(64 * 2**20)
    product_s = best_s(lambda: left @ right, repeats=20)
    sum_s = best_s(large.sum, repeats=5)
    return {
        "float32_gflops": round(2 * 512 * 1024 * 1024 / product_s / 1e9, 1),
        "read_gb_per_s": round(large.numel() * 4 / sum_s / 1e9, 1),
    }


def timed_s(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def best_s(work: Callable[[], Any], repeats: int) -> float:
    """The shortest of several: what the machine does when nobody disturbs it."""
    return min(timed_s(work) for _ in range(repeats))


def interleaved_s(works: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Times of each in turn, round after round, so that a disturbance meets all of them. The first round warms up."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            duration_s = timed_s(work)
            if number:
                times[name].append(duration_s)
    return times


def median_ratio(slow: list[float], fast: list[float]) -> float:
    """Median of the ratios round by round: neighbours in time met the same machine."""
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
