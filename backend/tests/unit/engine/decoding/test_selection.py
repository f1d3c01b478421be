from __future__ import annotations

from collections import Counter
from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.decoding.selection import best, drawn

# Few different values, so that ties are the rule.
tied_scores = st.lists(st.sampled_from([-np.inf, -0.5, 0.0, 0.25, 1.0]), max_size=12)


@given(tied_scores, st.integers(0, 14))
def test_the_best_are_the_highest_and_of_equals_the_leftmost(scores: list[float], count: int) -> None:
    ranking = sorted(range(len(scores)), key=lambda index: (-scores[index], index))
    assert best(scores, count) == ranking[:count]


@given(tied_scores, st.integers(0, 14), st.floats(0.05, 10), st.integers(0, 2**32))
def test_drawn_positions_are_different_ones(scores: list[float], count: int, temperature: float, seed: int) -> None:
    chosen = drawn(scores, count, temperature, np.random.default_rng(seed))
    assert len(chosen) == len(set(chosen)) == min(count, len(scores))
    assert all(0 <= index < len(scores) for index in chosen)


def without_replacement(probabilities: list[float], count: int) -> dict[tuple[int, ...], float]:
    """Each set of positions and how likely it is when they are drawn one after the other."""
    chances: dict[tuple[int, ...], float] = dict.fromkeys(combinations(range(len(probabilities)), count), 0.0)
    for order in permutations(range(len(probabilities)), count):
        chance, left = 1.0, 1.0
        for index in order:
            chance *= probabilities[index] / left
            left -= probabilities[index]
        chances[tuple(sorted(order))] += chance
    return chances


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("temperature", [0.3, 2.0])
def test_positions_are_drawn_from_the_softmax_of_their_scores(count: int, temperature: float) -> None:
    scores, num_draws = [0.1, 0.9, -0.4, 0.5], 8_000
    weights = np.exp(np.array(scores) / temperature)
    expected = without_replacement((weights / weights.sum()).tolist(), count)
    rng = np.random.default_rng(0)
    seen = Counter(tuple(sorted(drawn(scores, count, temperature, rng))) for _ in range(num_draws))
    chi_square = sum((seen[key] - num_draws * p) ** 2 / (num_draws * p) for key, p in expected.items())
    # At most five degrees of freedom: 25.7 is exceeded once in ten thousand seeds, and the seed is fixed.
    assert chi_square < 25.7


@pytest.mark.parametrize("temperature", [1e-9, 1e-300, 5e-324])
def test_at_a_tiny_temperature_the_draw_is_the_choice_of_the_best(temperature: float) -> None:
    scores = [-0.5, 0.25, -2.0, 0.75]
    assert drawn(scores, 2, temperature, np.random.default_rng(0)) == best(scores, 2)
