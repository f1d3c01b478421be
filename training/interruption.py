"""Turns SIGINT and SIGTERM into a flag that a run reads between two steps.

A signal that the process was started to ignore stays ignored.
"""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """A `with` block in which the first signal only sets `signal`; a second one acts as it does elsewhere."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        heeded = [each for each in SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]
        self._previous = {each: signal.signal(each, self._note) for each in heeded}
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _note(self, number: int, _: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        self._restore()

    def _restore(self) -> None:
        for each, handler in self._previous.items():
            signal.signal(each, handler)
