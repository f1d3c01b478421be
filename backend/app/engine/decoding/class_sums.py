"""The logits of one request, token by token of each class: what sums, maxima and draws over a class need.

Shapes: R rows, V vocabulary, M tokens that belong to a class, class by class, C classes. The few operations that touch
all tokens are those of torch where it is faster.
"""

from __future__ import annotations

from functools import cached_property

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


class ClassSums:
    """logits [R, V] on the host in float32, by the classes of an automaton."""

    def __init__(self, logits: Tensor, automaton: TokenAutomaton) -> None:
        self._ids, first = automaton.members
        self._first = first[:-1]
        self._bounds = automaton.bounds_of_classes
        self._num_classes = automaton.num_classes
        grouped = logits.index_select(1, torch.from_numpy(self._ids))
        tops = grouped.amax(-1, keepdim=True).clamp_(min=-1e30) if len(self._ids) else grouped
        self._grouped: Logits = grouped.numpy()
        self._tops: Floats = tops.numpy().astype(np.float64)
        self.weights: Logits = (grouped - tops).exp_().numpy()
        """[R, M]: the exponential of each token's logit, relative to the largest of the row."""

    @cached_property
    def best(self) -> Floats:
        """[R, C]: the largest logit of each class; minus infinity for class 0."""
        return self._with_class_0(np.maximum.reduceat(self._grouped, self._first, axis=1))

    @cached_property
    def logs(self) -> Floats:
        """[R, C]: the logarithm of the sum of the exponentials of each class; minus infinity for class 0."""
        sums = np.add.reduceat(self.weights, self._first, axis=1).astype(np.float64)
        is_tiny = sums < _TINY
        with np.errstate(divide="ignore"):
            np.log(sums, out=sums)
        sums += self._tops
        logs = self._with_class_0(sums)
        if is_tiny.any():
            self._sum_anew(logs, np.flatnonzero((is_tiny & (self.best[:, 1:] > -np.inf)).any(-1)))
        return logs

    def _sum_anew(self, logs: Floats, rows: NDArray[np.int64]) -> None:
        """Sums these rows relative to the largest of each class."""
        sizes = np.diff(self._bounds)
        for row in rows:
            best = np.where(self.best[row, 1:] > -np.inf, self.best[row, 1:], 0.0)
            sums = np.add.reduceat(np.exp(self._grouped[row] - np.repeat(best, sizes)), self._first)
            with np.errstate(divide="ignore"):
                logs[row, 1:] = np.log(sums) + best

    def _with_class_0(self, of_classes: NDArray[np.floating]) -> Floats:
        table = np.full((len(self._grouped), self._num_classes), -np.inf)
        table[:, 1:] = of_classes
        return table

    # The tokens of a class.

    def best_of(self, row: int, label: int) -> int:
        """Gives the most probable token of a class; of equal ones the lowest."""
        low, high = self._bounds[label - 1], self._bounds[label]
        return int(self._ids[low if high - low == 1 else low + int(self._grouped[row, low:high].argmax())])

    def drawn_of(self, row: int, label: int, uniform: float) -> tuple[int, float]:
        """Draws a token of a class, and gives what is left of the number."""
        low, high = self._bounds[label - 1], self._bounds[label]
        if high - low == 1:
            return int(self._ids[low]), uniform
        index, rest = pick(self._weights_of(row, low, high), uniform)
        return int(self._ids[low + index]), rest

    def _weights_of(self, row: int, low: int, high: int) -> Floats:
        weights = self.weights[row, low:high].astype(np.float64)
        if weights.max() < _TINY:
            logits = self._grouped[row, low:high].astype(np.float64)
            weights = np.exp(logits - logits.max())
        return weights
