"""The lengths of texts: from which states exactly so many tokens lead to the end of one.

Each length follows from the one before, by one look at every edge. Of many lengths every second is kept, or every
fourth, and so on, so that what is kept stays bounded; one in between follows from the next shorter one that is kept:

    at most 4 kept      0 1 2 3        then  0 2 4 6        then  0 4 8 12
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from app.engine.constraint.moves import Bools

Bits = NDArray[np.uint8]
StepBack = Callable[[Bools], Bools]
"""Gives the states from which one token leads to a wanted one."""

MAX_KEPT = 256
"""Lengths that are kept: all of those that most answers have."""


class StatesByLength:
    """For each length the states from which exactly so many tokens lead to an accepting one. Any thread may ask.

    It is lent `step_back` by the automaton that holds it: each holding the other, both would outlive their last use.

    Args:
        accepting: [states] those of length 0.
    """

    def __init__(self, accepting: Bools) -> None:
        self._num_states = len(accepting)
        self._kept: list[Bits] = [np.packbits(accepting)]
        self._stride = 1  # the lengths 0, stride, 2 · stride and so on are kept
        self._last = (0, self._kept[0])  # the length that was asked for last: the next one often follows it
        self._settled: int | None = None  # from this length on, they are the same for all
        self._lock = Lock()

    def states(self, length: int, step_back: StepBack) -> Bools:
        """Gives them as flags [states]."""
        return self._unpacked(self._bits(length, step_back))

    def has(self, length: int, state: int, step_back: StepBack) -> bool:
        """Whether a state is among them."""
        return bool(self._bits(length, step_back)[state // 8] >> (7 - state % 8) & 1)

    def _bits(self, length: int, step_back: StepBack) -> Bits:
        with self._lock:
            if self._settled is not None:
                length = min(length, self._settled)
            known, bits = self._nearest(length)
            while known < length:
                before, bits = bits, np.packbits(step_back(self._unpacked(bits)))
                if np.array_equal(before, bits):
                    self._settled = known
                    break
                known += 1
                self._keep(known, bits)
            self._last = known, bits
            return bits

    def _nearest(self, length: int) -> tuple[int, Bits]:
        """The longest known length that is no longer, and its states."""
        index = min(length // self._stride, len(self._kept) - 1)
        kept = index * self._stride
        return self._last if kept < self._last[0] <= length else (kept, self._kept[index])

    def _keep(self, length: int, bits: Bits) -> None:
        if length == len(self._kept) * self._stride:
            self._kept.append(bits)
        if len(self._kept) > MAX_KEPT:
            self._kept = self._kept[::2]
            self._stride *= 2

    def _unpacked(self, bits: Bits) -> Bools:
        return np.unpackbits(bits, count=self._num_states).astype(bool)
