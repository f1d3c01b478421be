"""Calls counted in memory, per client and limit."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from math import floor

MAX_WINDOWS = 100_000
"""The bound of clients and limits that are remembered: at most 40 MB, however many addresses somebody has."""


@dataclass(slots=True)
class Window:
    """The calls of the window that began at `start_s`, and of the one before it."""

    start_s: float
    num_previous: int = 0
    num_current: int = 0


class CallWindows:
    """Sliding windows as `limits` has them in Redis, and under the same names, by a clock that nobody can set.

    The storage of `limits` in memory goes by the time of day: a clock put back by an hour would shut clients out for an
    hour. It also looks through all its clients at each call, and has no bound.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, max_windows: int = MAX_WINDOWS) -> None:
        self._clock = clock
        self._max_windows = max_windows
        self._windows: OrderedDict[str, Window] = OrderedDict()

    def __len__(self) -> int:
        return len(self._windows)

    async def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Counts a call if the limit allows it."""
        num_previous, previous_ttl_s, num_current, _ = await self.get_sliding_window(key, expiry)
        if floor(num_previous * previous_ttl_s / expiry) + num_current + amount > limit:
            return False
        self._windows[key].num_current += amount
        return True

    async def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """The calls of the window before, the seconds for which they still count, and the same two of this window."""
        window = self._current(key, expiry)
        left_s = window.start_s + expiry - self._clock()
        return window.num_previous, left_s, window.num_current, left_s + expiry

    def _current(self, key: str, expiry: int) -> Window:
        now_s = self._clock()
        window = self._windows.setdefault(key, Window(now_s))
        self._windows.move_to_end(key)
        if len(self._windows) > self._max_windows:
            self._windows.popitem(last=False)
        num_past = floor((now_s - window.start_s) / expiry)
        if num_past > 0:
            window.num_previous = window.num_current if num_past == 1 else 0
            window.num_current = 0
            window.start_s += num_past * expiry
        return window
