"""A bound on the joint probability of what is committed together (Fast-dLLM++, arXiv 2606.02955, section 3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.engine.decoding.commit.rule import Candidates, CommitRule
from app.engine.decoding.selection import best
from app.engine.decoding.step import Signal
from app.engine.interface.params import DecodingParams


class Margin(CommitRule):
    """Commits so many that all of them together are likelier than any other choice, by a margin."""

    PARAMETER = "confidence_margin"
    NEEDS = frozenset({Signal.CONFIDENCES})

    def __init__(self, params: DecodingParams) -> None:
        assert params.confidence_margin is not None
        self._margin = params.confidence_margin

    def confident(self, candidates: Candidates) -> list[int]:
        return within_margin(candidates.scores, self._margin)


def within_margin(confidences: Sequence[float], margin: float) -> list[int]:
    """Gives the n most confident, for the largest n whose least joint probability leads by more than `margin`.

    Whatever the tokens have to do with each other, n of them are right together with a probability of at least
    1 - (the sum of their doubts), a doubt being 1 - a confidence (Fréchet). Any other choice has another token at one
    position at least, so its probability is at most the largest doubt, the n-th. The lead is the difference of the two.

    0.99, 0.9 and 0.5 with a margin of 0.25: the leads are 1 - 0.01 - 0.01 = 0.98, 1 - 0.11 - 0.1 = 0.79 and
    1 - 0.61 - 0.5 = -0.11; so the first two. A lead never grows with n. Equal confidences lead by
    1 - (n + 1)(1 - confidence), so there the rule is that of a factor of 1 - `margin`; others lead by more.
    """
    order = best(confidences, len(confidences))
    doubts = 1 - np.asarray([confidences[index] for index in order])
    leads = 1 - np.cumsum(doubts) - doubts
    return order[: int(np.count_nonzero(leads > margin))]
