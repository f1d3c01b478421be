"""The threads of computing libraries: each test process has its share of the cores."""

from __future__ import annotations

import os


def share_cores(num_processes: int) -> None:
    """Sets how many threads OpenMP starts in this process, if it is to be one of several test processes, and in the
    programs that it starts; in vain once torch is imported. Two test processes with a thread for each of two cores take
    a third more time for the same work."""
    if num_processes > 1:
        os.environ.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // num_processes, 1)))
