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


def at_least(scores: Sequence[float], threshold: float) -> list[int]:
    """Everything that scores `threshold` or more, and always the best one (Fast-dLLM, arXiv 2505.22618)."""
    winner = best(scores, 1)
    return winner + [i for i in reaching(scores, threshold) if i not in winner]


def reaching(scores: Sequence[float], threshold: float) -> list[int]:
    """Everything that scores `threshold` or more."""
    return [index for index, score in enumerate(scores) if score >= threshold]


def within_factor(confidences: Sequence[float], factor: float) -> list[int]:
    """The n surest, for the largest n with (n + 1) · (1 - the n-th confidence) < `factor`; always the best one.

    The surer the predictions, the more of them at once (Fast-dLLM, arXiv 2505.22618, section 3.3).
    """
    order = best(confidences, len(confidences))
    count = next((n for n, i in enumerate(order) if (n + 2) * (1 - confidences[i]) >= factor), len(order))
    return order[: max(count, 1)]


def within_entropy(entropies: Sequence[float], bound: float) -> list[int]:
    """The least uncertain, as many as have, all but the last one together, at most `bound` nats; always the first.

    That bounds the error of taking them for independent of each other (EB-Sampler, arXiv 2505.24857, section 3).
    """
    order = best([-entropy for entropy in entropies], len(entropies))
    before = np.cumsum([0.0, *(entropies[i] for i in order)])
    return order[: max(int(np.searchsorted(before[: len(order)], bound, side="right")), 1)]


def drawn(scores: Sequence[float], count: int, temperature: float, rng: np.random.Generator) -> list[int]:
    """`count` positions drawn without replacement from softmax(score / temperature) (Dream's `alg_temp`).

    The best `count` of score / temperature + Gumbel noise have exactly this distribution (arXiv 1903.06059).
    """
    noisy = np.asarray(scores, dtype=np.float64) / max(temperature, _LEAST_TEMPERATURE) + rng.gumbel(size=len(scores))
    return best(noisy.tolist(), count)
