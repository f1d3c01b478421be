"""Choosing the length of a gap before decoding, for families that cannot change it while they decode.

After the idea of CAL (arXiv 2602.00476): look at the first step's confidence at several candidate lengths, all in
one forward pass, and take the length at which the model is surest of itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def choose_length(lengths: Sequence[int], confidences: Sequence[Sequence[float]]) -> int:
    """The candidate length with the highest score; of equals the shortest.

    The score is the mean over the gap's masks of log(probability of the best token), each at the first step. It is
    measured in `docs/decoding.md` against always taking the greatest length.
    """
    scores = [sum(math.log(max(c, 1e-12)) for c in gap) / max(len(gap), 1) for gap in confidences]
    return max(zip(scores, (-length for length in lengths), strict=True))[1] * -1
