"""A clock that somebody keeps setting: the wall clock jumps by hours, forth and back, with every look at it.

python -m tests.clock_jumps      the server, on a machine with such a clock
"""

from __future__ import annotations

import itertools
import sys
import time

JUMPS_S = (0, 7 * 3600, -9 * 3600, 3600, -400 * 24 * 3600)


def _serve() -> int:
    honest, jumps = time.time, itertools.cycle(JUMPS_S)
    time.time = lambda: honest() + next(jumps)
    time.time_ns = lambda: int(1e9 * time.time())
    from main import main

    return main()


if __name__ == "__main__":
    sys.exit(_serve())
