"""Serve's own lines in the log of a replica."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

SERVE_LOGGER = "ray.serve"
QUIET_S = 10.0
"""The seconds for which a repeated line is left out."""
MAX_KNOWN = 1000


class PlainSpeech(logging.Filter):
    """Makes one line of each record, and lets no line repeat itself: while a replica is busy or has died, Serve says so
    for every request that waits, with the text of the error over ten lines."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._said_s: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        line = " ".join(record.getMessage().split())
        record.msg, record.args = line, ()
        now_s = self._clock()
        if now_s - self._said_s.get(line, -QUIET_S) < QUIET_S:
            return False
        if len(self._said_s) >= MAX_KNOWN:
            self._said_s.clear()
        self._said_s[line] = now_s
        return True


def speak_plainly() -> None:
    """Filters Serve's log lines in this process from now on."""
    logger = logging.getLogger(SERVE_LOGGER)
    if not any(isinstance(one, PlainSpeech) for one in logger.filters):
        logger.addFilter(PlainSpeech())
