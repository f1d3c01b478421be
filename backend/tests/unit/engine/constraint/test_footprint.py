"""The footprint of an automaton covers all that is ever derived of it."""

from __future__ import annotations

import gc
import tracemalloc
from functools import cached_property

import numpy as np
import pytest

from app.engine.constraint.automaton import TokenAutomaton
from app.engine.constraint.footprint import most_bytes
from tests.unit.engine.constraint.automata import automaton_of


def _derive_all(automaton: TokenAutomaton) -> None:
    """Whatever is cached on it once it has been asked for, of whatever name."""
    for holder in (automaton, automaton.moves):
        for name, member in vars(type(holder)).items():
            if isinstance(member, cached_property):
                getattr(holder, name)
    automaton.accepting_in(600)


def _chain(num_tokens: int) -> TokenAutomaton:
    return automaton_of({(place, place): place + 1 for place in range(num_tokens)}, {num_tokens}, num_tokens + 2)


def _star(num_tokens: int) -> TokenAutomaton:
    """One state from which each token leads to another, and back to it."""
    forth = {(0, token): token + 1 for token in range(num_tokens)}
    back = {(token + 1, token): 0 for token in range(num_tokens)}
    return automaton_of(forth | back, {0}, num_tokens + 2)


def _circle_of_many_edges(num_states: int) -> TokenAutomaton:
    moves = {(state, token): (state + 1) % num_states for state in range(num_states) for token in range(30)}
    return automaton_of(moves, set(range(0, num_states, 7)), 50_000)


def _of_any_targets(num_states: int) -> TokenAutomaton:
    targets = np.random.default_rng(0).integers(num_states, size=(num_states, 40)).tolist()
    moves = {(state, token): target for state, row in enumerate(targets) for token, target in enumerate(row)}
    return automaton_of(moves, set(range(num_states)), 42)


@pytest.mark.parametrize(
    "automaton", [_chain(1), _chain(2_000), _star(1_000), _circle_of_many_edges(500), _of_any_targets(400)]
)
def test_all_that_is_derived_is_counted(automaton: TokenAutomaton) -> None:
    columns = (automaton.sources, automaton.labels, automaton.targets)
    gc.collect()
    tracemalloc.start()
    fresh = TokenAutomaton(automaton.classes, *columns, automaton.accepting)
    _derive_all(fresh)
    _derive_all(fresh.closed_by((len(automaton.classes) - 1,)))
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held <= most_bytes(fresh) <= 3 * held + 200_000
