"""Choosing the length of a gap before decoding, for families that cannot change it while they decode.

After the idea of CAL (arXiv 2602.00476): look at the first step's confidence at several candidate lengths, all in one
forward pass. Confidence has a peak at the true length, and a bias towards short gaps on top of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

TYPICAL_LENGTH = 12
"""Tokens of a gap about which nothing is known."""
WEIGHT_PER_OCTAVE = 0.3
"""Nats of mean log-probability that being one octave away from the typical length costs."""


def choose_length(lengths: Sequence[int], confidences: Sequence[Sequence[float]]) -> int:
    """The candidate length with the highest score; of equals the shortest.

    score(L) = mean over the gap's masks of log(probability of the best token)
               - WEIGHT_PER_OCTAVE · log2(L / TYPICAL_LENGTH)²

    The second term, a log-normal prior, stands against the bias and decides where the model has no opinion; where it
    has one the first term does. `docs/decoding.md` has the measurement against always taking the greatest length.
    """
    scored = [(score(gap), -length) for length, gap in zip(lengths, confidences, strict=True)]
    return -max(scored)[1]


def score(confidences: Sequence[float]) -> float:
    """Gives how well a gap of this many masks fits, from the confidence at each of them."""
    confidence_nats = sum(math.log(max(confidence, 1e-12)) for confidence in confidences) / len(confidences)
    return confidence_nats - WEIGHT_PER_OCTAVE * math.log2(len(confidences) / TYPICAL_LENGTH) ** 2
