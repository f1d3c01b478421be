"""The memory that lengths keep stays bounded, and changes no answer."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from app.engine.constraint import lengths
from tests.unit.engine.constraint.automata import automaton_of, random_automaton

VOCAB = 6


@pytest.mark.parametrize("seed", range(8))
def test_lengths_in_any_order_are_those_of_a_walk_from_length_to_length(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lengths, "MAX_KEPT", 4)
    rng = np.random.default_rng(seed)
    automaton = random_automaton(rng, VOCAB) or automaton_of({(0, 1): 1, (1, 2): 0}, {0}, VOCAB)
    expected = [automaton.accepting]
    for _ in range(40):
        expected.append(automaton.step_back(expected[-1]))
    for length in [*rng.integers(41, size=60).tolist(), *range(41), *range(40, -1, -1)]:
        assert automaton.accepting_in(length).tolist() == expected[length].tolist()
        assert automaton.accepts_in(length, 0) == expected[length][0]


def test_what_is_kept_of_lengths_does_not_grow_with_the_longest() -> None:
    """A circle of 4,096 states, whose lengths never become the same for all: 512 bytes each, 2 MB together."""
    num_states = 4096
    circle = automaton_of({(state, 1): (state + 1) % num_states for state in range(num_states)}, {0}, VOCAB)
    circle.accepting_in(0)
    tracemalloc.start()
    assert circle.accepting_in(num_states)[0]
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 400_000
