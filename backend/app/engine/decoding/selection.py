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


def reaching(scores: Sequence[float], threshold: float) -> list[int]:
    """Everything that scores `threshold` or more (Fast-dLLM, arXiv 2505.22618, section 3.3)."""
    return [index for index, score in enumerate(scores) if score >= threshold]


LEAP = 4
"""Positions to either side of an anchor that count as near it."""


def leaping(confidences: Sequence[float], positions: Sequence[int], threshold: float, near: float) -> list[int]:
    """Everything that reaches the threshold. For its neighbours `near` is enough, as surety spreads locally (LocalLeap,
    arXiv 2510.07081, section 4)."""
    anchors = [positions[index] for index in reaching(confidences, threshold)]

    def is_near(position: int) -> bool:
        return any(abs(position - anchor) <= LEAP for anchor in anchors)

    return [
        index
        for index, (sure, position) in enumerate(zip(confidences, positions, strict=True))
        if sure >= threshold or (sure >= near and is_near(position))
    ]


def drafted(confidences: Sequence[float], threshold: float) -> list[int]:
    """The best above the threshold, at most 70 % of the masks but at least 5, and never more than 20 (WINO, arXiv
    2507.18578)."""
    most = min(max(int(0.7 * len(confidences)), 5), 20)
    return [index for index in best(confidences, most) if confidences[index] > threshold]


def within_factor(confidences: Sequence[float], factor: float) -> list[int]:
    """The n surest, for the largest n with (n + 1) · (1 - the n-th confidence) < `factor`.

    The surer the predictions, the more of them at once (Fast-dLLM, arXiv 2505.22618, section 3.3).
    """
    order = best(confidences, len(confidences))
    count = next((n for n, i in enumerate(order) if (n + 2) * (1 - confidences[i]) >= factor), len(order))
    return order[:count]


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
