"""The ranking of predictions by Dream and DreamOn (DreamLM/Dream, `generation_utils.py`)."""

from __future__ import annotations

import numpy as np

from app.engine.decoding import selection
from app.engine.decoding.commit.registry import rule_of, rules_on
from app.engine.decoding.rules import LogitRules, Score
from app.engine.decoding.step import Prediction
from app.engine.interface.params import DecodingParams

DEFAULT_ALGORITHM = "entropy"
SCORES = {
    "origin": Score.PROBABILITY,
    "maskgit_plus": Score.PROBABILITY,
    "topk_margin": Score.MARGIN,
    "entropy": Score.NEGATIVE_ENTROPY,
}
"""The score of each algorithm."""


def ranking_rules(params: DecodingParams) -> LogitRules:
    """Gives the rules by which a request's logits are read; scores see temperature and filters.

    What these leave of a token says nothing about how sure the model is, so beside a commit rule, which DreamOn's
    published sampler does not have, confidences do not see them, nor do scores where the rule goes by entropy.
    """
    return LogitRules(
        score=SCORES[params.algorithm or DEFAULT_ALGORITHM],
        temperature=params.temperature,
        top_p=params.top_p,
        top_k=params.top_k,
        min_p=params.min_p,
        scores_see_filters=rule_of(params).RANKS_BY is not Score.NEGATIVE_ENTROPY,
        confidences_are_own=bool(rules_on(params)),
    )


def choose(predicted: Prediction, count: int, temperature: float, rng: np.random.Generator) -> list[int]:
    """Gives the indices of `count` predictions: the best, or with a temperature a draw by their scores."""
    if temperature > 0:
        return selection.drawn(predicted.scores, count, temperature, rng)
    return selection.best(predicted.scores, count)
