"""The threads of computing libraries: each test process has its share of the cores."""

from __future__ import annotations

import os


def share_cores() -> None:
    """Sets how many threads OpenMP starts in this process, if it is one of several test processes, and in the programs
    that it starts; in vain once torch is imported. Two test processes with a thread for each of two cores take a third
    more time for the same work. The process that starts the others sets nothing, which they would inherit."""
    num_processes = os.environ.get("PYTEST_XDIST_WORKER_COUNT")
    if num_processes is not None:
        num_threads = max((os.cpu_count() or 1) // int(num_processes), 1)
        os.environ.setdefault("OMP_NUM_THREADS", str(num_threads))
