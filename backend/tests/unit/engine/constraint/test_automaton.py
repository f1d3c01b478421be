"""An automaton says which lengths lead from a state to an accepting one as every text says it."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

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
