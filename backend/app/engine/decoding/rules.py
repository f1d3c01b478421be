"""The rules by which one request's logits become a token and a score at each position, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Score(Enum):
    """The number that ranks a prediction."""

    PROBABILITY = "probability"
    """MaskGIT's confidence (arXiv 2202.04200); LLaDA's `low_confidence`, Dream's `maskgit_plus`."""
    MARGIN = "margin"
    """Probability of the best token less that of the second (arXiv 2502.06768); `topk_margin`."""
    NEGATIVE_ENTROPY = "negative_entropy"
    """Σ p·log(p + 1e-10): at most 0, higher is surer; `entropy`."""


@dataclass(frozen=True, slots=True)
class LogitRules:
    """Requests with equal rules are decoded in one go."""

    score: Score
    temperature: float
    top_p: float | None
    top_k: int | None
    scores_see_filters: bool
    """Dream scores the distribution after temperature and filters; LLaDA scores the model's own."""
    banned: tuple[int, ...] = ()
    """Token ids that cannot be predicted in this step."""
    unscored: tuple[int, ...] = ()
    """Token ids that can be predicted, but count as impossible when the prediction is scored."""
    undrawn: tuple[int, ...] = ()
    """Token ids that cannot be predicted, but count as possible when a prediction is scored."""
    top_k_first: bool = False
    """Whether top-p looks at what top-k has left; else top-k at what top-p has left."""
    min_p: float = 0.0
    """The least probability of a token, as a share of the largest; above 0 it drops what is below, whatever top-p and
    top-k leave."""
    confidences_are_own: bool = False
    """Whether a confidence is the token's probability by the model's own distribution, whatever scores see."""
