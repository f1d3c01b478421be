"""A bound on the entropy of what is committed together (EB-Sampler, arXiv 2505.24857, section 3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.engine.decoding.commit.rule import Candidates, CommitRule
from app.engine.decoding.rules import Score
from app.engine.decoding.selection import best
from app.engine.decoding.step import Signal
from app.engine.interface.errors import InvalidRequest
from app.engine.interface.params import DecodingParams


class EntropyBound(CommitRule):
    """Commits the least uncertain while their entropies add up to little."""

    PARAMETER = "entropy_bound"
    NEEDS = frozenset({Signal.ENTROPIES})
    RANKS_BY = Score.NEGATIVE_ENTROPY
    ALGORITHMS = ("entropy", "low_confidence")
    """Algorithms that it can stand beside: the default of each sampler."""

    def __init__(self, params: DecodingParams) -> None:
        assert params.entropy_bound is not None
        self._bound = params.entropy_bound

    @classmethod
    def check(cls, params: DecodingParams) -> None:
        """Refuses algorithms that rank by something else."""
        if params.algorithm is not None and params.algorithm not in cls.ALGORITHMS:
            raise InvalidRequest(
                f"entropy_bound ranks by entropy, and algorithm={params.algorithm!r} by something else; leave one out",
                field="entropy_bound",
            )

    def confident(self, candidates: Candidates) -> list[int]:
        return within_entropy([-score for score in candidates.scores], self._bound)


def within_entropy(entropies: Sequence[float], bound: float) -> list[int]:
    """Gives the least uncertain, so many that all but the last have at most `bound` nats together; always the first.

    That bounds the error of taking them for independent of each other. 0.1, 0.2 and 0.4 nats with a bound of 0.25:
    nothing stands before the first, 0.1 before the second, 0.3 before the third; so the first two.
    """
    order = best([-entropy for entropy in entropies], len(entropies))
    before = np.cumsum([0.0, *(entropies[i] for i in order)])
    return order[: max(int(np.searchsorted(before[: len(order)], bound, side="right")), 1)]
