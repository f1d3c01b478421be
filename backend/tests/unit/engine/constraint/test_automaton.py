"""An automaton says which lengths lead from a state to an accepting one as every text says it."""

from __future__ import annotations

import tracemalloc
from itertools import product

import numpy as np
import pytest

from app.engine.constraint.graph import OPEN, LayeredGraph
from app.engine.constraint.lattice import Lattice
from tests.unit.engine.constraint.automata import automaton_of, random_automaton

VOCAB = 6


@pytest.mark.parametrize("seed", range(8))
def test_exactly_so_many_tokens_lead_to_the_end_where_a_text_does(seed: int) -> None:
    automaton = random_automaton(np.random.default_rng(seed), VOCAB) or automaton_of({(0, 1): 0}, {0}, VOCAB)
    for length, state in product(range(4), range(automaton.num_states)):
        ends = [automaton.run(text, state) for text in product(range(VOCAB), repeat=length)]
        expected = any(end is not None and bool(automaton.accepting[end]) for end in ends)
        assert automaton.accepts_in(length, state) == expected
        assert automaton.accepting_in(length)[state] == expected


def test_a_length_beyond_those_that_differ_costs_nothing() -> None:
    """All states of the first may end in any number of tokens, and none of the second in more than one."""
    endless = automaton_of({(0, 1): 0}, {0}, VOCAB)
    one_token = automaton_of({(0, 1): 1}, {1}, VOCAB)
    assert endless.accepts_in(10**12, 0)
    assert not one_token.accepting_in(10**12).any()


@pytest.mark.parametrize("seed", range(8))
def test_moves_are_the_edges_from_one_state_to_another(seed: int) -> None:
    automaton = random_automaton(np.random.default_rng(seed), VOCAB) or automaton_of({(0, 1): 0}, {0}, VOCAB)
    moves = automaton.moves
    edges = {
        (int(source), int(label), int(target))
        for source, target, kind in zip(moves.sources, moves.targets, moves.kinds, strict=True)
        for label in moves.classes_of_kind(kind)
    }

    columns = (automaton.sources, automaton.labels, automaton.targets)
    assert edges == {(int(q), int(c), int(r)) for q, c, r in zip(*columns, strict=True) if c > 0}
    assert len(moves.sources) == len({(q, r) for q, _, r in edges})
    for states in (np.arange(automaton.num_states) == 0, automaton.accepting):
        forth = {r for q, _, r in edges if states[q]}
        assert set(np.flatnonzero(moves.step_forth(states)).tolist()) == forth
        assert set(np.flatnonzero(moves.step_back(states)).tolist()) == {q for q, _, r in edges if states[r]}


@pytest.mark.parametrize("seed", range(8))
def test_the_best_behind_a_state_is_that_of_the_states_one_move_leads_to(seed: int) -> None:
    rng = np.random.default_rng(seed)
    automaton = random_automaton(rng, VOCAB) or automaton_of({(0, 1): 0}, {0}, VOCAB)
    moves, values = automaton.moves, rng.normal(size=(automaton.num_states, 3))

    expected = np.full_like(values, -np.inf)
    np.maximum.at(expected, moves.sources, values[moves.targets])

    np.testing.assert_array_equal(moves.best_behind(values), expected)


@pytest.mark.parametrize("seed", range(8))
def test_kinds_of_a_class_are_those_whose_classes_it_is_among(seed: int) -> None:
    automaton = random_automaton(np.random.default_rng(seed), VOCAB) or automaton_of({(0, 1): 0}, {0}, VOCAB)
    moves = automaton.moves
    for label in range(automaton.num_classes):
        has = [label in moves.classes_of_kind(kind) for kind in range(moves.num_kinds)]
        assert moves.has_class(label).tolist() == has
        assert moves.kinds_of_class(label).tolist() == np.flatnonzero(has).tolist()


def test_the_memory_of_a_constraint_does_not_grow_with_the_square_of_its_tokens() -> None:
    """A text of 3,000 tokens, each another: 3,000 kinds of one class each."""
    num_tokens = 3_000
    text = automaton_of({(place, place): place + 1 for place in range(num_tokens)}, {num_tokens}, num_tokens)
    layers, ends = (OPEN, 1 + 1, OPEN), np.arange(num_tokens + 1) == 3
    tracemalloc.start()
    graph = LayeredGraph(text, 0, layers, ends)
    table = Lattice(text, 0, layers, ends, (0, 1), graph).table(np.zeros((2, num_tokens)), 1.0, 0.0, 0.0)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert table[1].nonzero()[0].tolist() == [1]
    assert most < num_tokens**2 / 2
