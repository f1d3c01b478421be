"""The logits of one request, token by token of each class: what sums, maxima and draws over a class need.

Shapes: R rows, V vocabulary, C classes. No step keeps more than a few rows class by class at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, cached_property, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.engine.constraint.automaton import TokenAutomaton
from app.engine.constraint.moves import Floats
from app.engine.constraint.posterior import pick

Logits = NDArray[np.float32]

_TINY = 1e-25
"""Sums of float32 probabilities below this one are computed anew, relative to the largest of their class."""
_NUM_AT_ONCE = 65_536
"""Logits that are looked at together: they stay in the processor's cache from one operation to the next."""
_MANY = 1_000_000
"""Logits that are shared among threads."""


class ClassSums:
    """logits [R, V] on the host in float32, by the classes of an automaton.

    Args:
        with_best: whether the largest logits are going to be asked for, which are found on the way.
    """

    def __init__(self, logits: Tensor, automaton: TokenAutomaton, *, with_best: bool = False) -> None:
        self._rows: Logits = logits.numpy()
        self._ids, first = automaton.members
        self._first = first[:-1]
        self._bounds = automaton.bounds_of_classes
        num_rows, num_classes = len(logits), automaton.num_classes
        self._sums = np.zeros((num_rows, num_classes), dtype=np.float32)
        """[R, C]: the sum of the exponentials of each class, relative to the largest of the row."""
        self._tops = np.zeros((num_rows, 1), dtype=np.float32)
        self._known_best = np.full((num_rows, num_classes), -np.inf) if with_best else None
        if len(self._ids):
            self._for_parts(self._sum)

    def _for_parts(self, work: Callable[[slice, Logits], None]) -> None:
        """Calls `work` for all rows, a few at a time, with the logits class by class."""
        step = max(1, _NUM_AT_ONCE // len(self._ids))
        parts = [slice(low, min(low + step, len(self._rows))) for low in range(0, len(self._rows), step)]

        def run(parts: list[slice]) -> None:
            buffer = np.empty((step, len(self._ids)), dtype=np.float32)
            for rows in parts:
                grouped = buffer[: rows.stop - rows.start]
                work(rows, self._rows[rows].take(self._ids, axis=1, out=grouped, mode="clip"))

        num_threads = min(torch.get_num_threads(), len(parts)) if len(self._rows) * len(self._ids) > _MANY else 1
        if num_threads == 1:
            run(parts)
        else:
            deque(_threads().map(run, [parts[index::num_threads] for index in range(num_threads)]), maxlen=0)

    def _sum(self, rows: slice, grouped: Logits) -> None:
        if self._known_best is None:
            tops = grouped.max(-1, keepdims=True)
        else:
            self._find_best(self._known_best, rows, grouped)
            tops = self._known_best[rows].max(-1, keepdims=True)
        self._tops[rows] = tops = np.maximum(tops, -1e30).astype(np.float32)
        grouped -= tops
        np.exp(grouped, out=grouped)
        self._sums[rows, 1:] = np.add.reduceat(grouped, self._first, axis=1)

    def _find_best(self, best: Floats, rows: slice, grouped: Logits) -> None:
        best[rows, 1:] = np.maximum.reduceat(grouped, self._first, axis=1)

    @property
    def best(self) -> Floats:
        """[R, C]: the largest logit of each class; minus infinity for class 0."""
        if self._known_best is None:
            self._known_best = np.full(self._sums.shape, -np.inf)
            self._for_parts(partial(self._find_best, self._known_best))
        return self._known_best

    @cached_property
    def logs(self) -> Floats:
        """[R, C]: the logarithm of the sum of the exponentials of each class; minus infinity for class 0."""
        with np.errstate(divide="ignore"):
            logs: Floats = np.log(self._sums, dtype=np.float64)
        logs += self._tops
        if self._sums[:, 1:].min(initial=1.0) < _TINY:
            self._sum_anew(logs, np.flatnonzero(((self._sums < _TINY) & (self.best > -np.inf)).any(-1)))
        return logs

    def _sum_anew(self, logs: Floats, rows: NDArray[np.int64]) -> None:
        """Sums these rows relative to the largest of each class."""
        sizes = np.diff(self._bounds)
        for row in rows:
            best = np.where(self.best[row, 1:] > -np.inf, self.best[row, 1:], 0.0)
            weights = np.exp(self._rows[row].take(self._ids) - np.repeat(best, sizes))
            with np.errstate(divide="ignore"):
                logs[row, 1:] = np.log(np.add.reduceat(weights, self._first)) + best

    # The tokens of a class.

    def best_of(self, row: int, label: int) -> int:
        """Gives the most probable token of a class; of equal ones the lowest."""
        low, high = self._bounds[label - 1], self._bounds[label]
        if high - low > 1:
            low += int(self._rows[row].take(self._ids[low:high]).argmax())
        return int(self._ids[low])

    def drawn_of(self, row: int, label: int, uniform: float) -> tuple[int, float]:
        """Draws a token of a class, and gives what is left of the number."""
        low, high = self._bounds[label - 1], self._bounds[label]
        if high - low == 1:
            return int(self._ids[low]), uniform
        logits = self._rows[row].take(self._ids[low:high]).astype(np.float64)
        index, rest = pick(np.exp(logits - logits.max()), uniform)
        return int(self._ids[low + index]), rest


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(torch.get_num_threads(), "class-sums")
