"""A lower threshold near what is confident (LocalLeap, arXiv 2510.07081, section 4)."""

from __future__ import annotations

from collections.abc import Sequence

from app.engine.decoding.commit.rule import Candidates, CommitRule
from app.engine.decoding.commit.threshold import reaching
from app.engine.decoding.step import Signal
from app.engine.interface.params import DecodingParams

LEAP = 4
"""Positions to either side of an anchor that count as near it."""


class LocalLeap(CommitRule):
    """Commits everything that reaches the threshold, and near it whatever reaches a lower one."""

    PARAMETER = "local_threshold"
    REFINES = "confidence_threshold"
    NEEDS = frozenset({Signal.CONFIDENCES})

    def __init__(self, params: DecodingParams) -> None:
        assert params.local_threshold is not None
        self._threshold = params.confidence_threshold or 0.0
        self._near = params.local_threshold

    def confident(self, candidates: Candidates) -> list[int]:
        return leaping(candidates.scores, candidates.positions, self._threshold, self._near)


def leaping(confidences: Sequence[float], positions: Sequence[int], threshold: float, near: float) -> list[int]:
    """Gives everything that reaches the threshold, its anchors, and near them everything that reaches `near`."""
    anchors = [positions[index] for index in reaching(confidences, threshold)]

    def is_near(position: int) -> bool:
        return any(abs(position - anchor) <= LEAP for anchor in anchors)

    return [
        index
        for index, (confidence, position) in enumerate(zip(confidences, positions, strict=True))
        if confidence >= threshold or (confidence >= near and is_near(position))
    ]
