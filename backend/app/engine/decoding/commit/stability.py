"""A threshold for distributions that have stopped moving (KLASS, arXiv 2511.05664, section 4)."""

from __future__ import annotations

from app.engine.decoding.commit.rule import Candidates, CommitRule
from app.engine.decoding.commit.threshold import Threshold
from app.engine.decoding.step import Signal
from app.engine.interface.params import DecodingParams

CALM_STEPS = 2
"""Steps in a row in which a distribution must hardly have moved."""


class Stability(CommitRule):
    """A confidence threshold that commits nothing whose distribution has moved lately."""

    PARAMETER = "stability_bound"
    REFINES = "confidence_threshold"
    NEEDS = frozenset({Signal.CONFIDENCES, Signal.DIVERGENCES})

    def __init__(self, params: DecodingParams) -> None:
        assert params.stability_bound is not None
        self._threshold = Threshold(params)
        self._bound = params.stability_bound
        self._num_calm: dict[int, int] = {}  # steps in a row, by position

    def confident(self, candidates: Candidates) -> list[int]:
        moves = zip(candidates.positions, candidates.divergences, strict=True)
        self._num_calm = {p: self._num_calm.get(p, 0) + 1 for p, divergence in moves if divergence < self._bound}
        confident = self._threshold.confident(candidates)
        return [i for i in confident if self._num_calm.get(candidates.positions[i], 0) >= CALM_STEPS]
