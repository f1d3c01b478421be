"""Times that count only while nobody else uses the processor.

A sample during which other programs used more than a small share of a core is thrown away and taken again. Without that
a comparison says little: beside one busy core, programs whose threads wait awake for each other take five to eight
times as long, and others hardly longer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

MOST_OTHERS = 0.15
"""Cores that others may use during a sample."""
PATIENCE_S = 120.0
LOOK_S = 1.0
"""Seconds over which others are watched before a sample is taken again."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one piece of work."""

    seconds: float
    """Seconds by the clock."""
    cpu_s: float
    """Processor seconds of all its threads and of programs that it ran: other work hardly changes them, but threads
    that wait awake count too."""


@dataclass(frozen=True, slots=True)
class Moment:
    """The readings of all clocks at one moment."""

    seconds: float
    own_s: float
    """Processor seconds of this process, and of programs that it has run to their end."""
    busy_s: float
    """Processor seconds of everybody."""

    @classmethod
    def now(cls) -> Moment:
        own, busy = psutil.Process().cpu_times(), psutil.cpu_times()
        own_s = own.user + own.system + own.children_user + own.children_system
        idle_s = (
            busy.idle + getattr(busy, "iowait", 0.0) + getattr(busy, "guest", 0.0) + getattr(busy, "guest_nice", 0.0)
        )
        return cls(time.perf_counter(), own_s, sum(busy) - idle_s)

    def others_since(self, earlier: Moment) -> float:
        """The number of cores that others used since an earlier moment."""
        others_s = (self.busy_s - earlier.busy_s) - (self.own_s - earlier.own_s)
        return max(0.0, others_s / (self.seconds - earlier.seconds))


def timed(work: Callable[[], object], repeats: int = 1) -> Timing:
    """The times of one of several repeats."""
    started, own = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        work()
    return Timing((time.perf_counter() - started) / repeats, (time.process_time() - own) / repeats)


class Gate:
    """Lets through what nobody disturbed.

    Args:
        most_others: cores that others may use; as many as there are lets everything through.
        patience_s: seconds after which a sample that was disturbed again and again is given up.
    """

    def __init__(self, most_others: float = MOST_OTHERS, patience_s: float = PATIENCE_S) -> None:
        self._most_others, self._patience_s = most_others, patience_s
        self.num_disturbed = 0

    def sample(self, work: Callable[[], Timing]) -> Timing | None:
        """The times of the first run that nobody disturbed; `None` where there was none in time."""
        deadline = time.monotonic() + self._patience_s
        while True:
            started = Moment.now()
            timing = work()
            if self._was_quiet(started):
                return timing
            self.num_disturbed += 1
            if not self._becomes_quiet(deadline):
                return None

    def _was_quiet(self, started: Moment) -> bool:
        return Moment.now().others_since(started) <= self._most_others

    def _becomes_quiet(self, deadline: float) -> bool:
        while time.monotonic() < deadline:
            started = Moment.now()
            time.sleep(LOOK_S)
            if self._was_quiet(started):
                return True
        return False
