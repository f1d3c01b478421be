"""A bound on the number of commits by their confidence (Fast-dLLM, arXiv 2505.22618, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

from app.engine.decoding.commit.rule import Candidates, CommitRule
from app.engine.decoding.selection import best
from app.engine.decoding.step import Signal
from app.engine.interface.params import DecodingParams


class Factor(CommitRule):
    """Commits so many that all of them are confident enough for that number."""

    PARAMETER = "confidence_factor"
    NEEDS = frozenset({Signal.CONFIDENCES})

    def __init__(self, params: DecodingParams) -> None:
        assert params.confidence_factor is not None
        self._factor = params.confidence_factor

    def confident(self, candidates: Candidates) -> list[int]:
        return within_factor(candidates.scores, self._factor)


def within_factor(confidences: Sequence[float], factor: float) -> list[int]:
    """Gives the n most confident, for the largest n with (n + 1) · (1 - the n-th confidence) < `factor`.

    0.99, 0.9 and 0.5 with a factor of 0.4: 2 · 0.01 and 3 · 0.1 are below it, 4 · 0.5 is not; so the first two.
    """
    order = best(confidences, len(confidences))
    count = next((n for n, i in enumerate(order) if (n + 2) * (1 - confidences[i]) >= factor), len(order))
    return order[:count]
