"""A threshold of confidence (Fast-dLLM, arXiv 2505.22618, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

from app.engine.decoding.commit.rule import Candidates, CommitRule
from app.engine.decoding.step import Signal
from app.engine.interface.params import DecodingParams


class Threshold(CommitRule):
    """Commits everything that is confident enough."""

    PARAMETER = "confidence_threshold"
    NEEDS = frozenset({Signal.CONFIDENCES})

    def __init__(self, params: DecodingParams) -> None:
        self._threshold = params.confidence_threshold or 0.0

    def confident(self, candidates: Candidates) -> list[int]:
        return reaching(candidates.scores, self._threshold)


def reaching(confidences: Sequence[float], threshold: float) -> list[int]:
    """Gives the indices of everything that is `threshold` or more."""
    return [index for index, confidence in enumerate(confidences) if confidence >= threshold]
