"""Scores to commits: which of the candidate positions become tokens in this step.

Every rule works on one request's scores, on the host, and breaks ties by the lowest position, so that it gives
the same answer on every device and in every batch. Indices count within `scores`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Divided by less, scores would overflow; the draw is the choice of the best long before.
_LEAST_TEMPERATURE = 1e-200


def best(scores: Sequence[float], count: int) -> list[int]:
    """The `count` highest scores, or all if there are fewer."""
    # argsort of the negated scores is stable: equal scores keep their reading order.
    order = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")
    return [int(index) for index in order[:count]]


def drawn(scores: Sequence[float], count: int, temperature: float, rng: np.random.Generator) -> list[int]:
    """`count` positions drawn without replacement from softmax(score / temperature) (Dream's `alg_temp`).

    The best `count` of score / temperature + Gumbel noise have exactly this distribution (arXiv 1903.06059).
    """
    noisy = np.asarray(scores, dtype=np.float64) / max(temperature, _LEAST_TEMPERATURE) + rng.gumbel(size=len(scores))
    return best(noisy.tolist(), count)
