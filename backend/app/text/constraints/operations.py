"""Operations on automata that trees of languages do not have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.text.constraints.dfa import Dfa, determinise, merged_columns
from app.text.constraints.language import Language, Machine
from app.text.constraints.limits import Budget, check_size
from app.text.constraints.minimise import minimise


def minimal(language: Language, budget: Budget) -> Dfa:
    """The automaton of a language, minimised."""
    return minimise(determinise(language, budget), budget)


def intersect(languages: Sequence[Language], budget: Budget) -> Dfa:
    """The minimal automaton of the texts that are in all languages."""
    found = _automaton(languages[0], budget)
    for other in languages[1:]:
        found = minimise(_product(found, _automaton(other, budget), budget), budget)
    return found


def subtract(language: Language, other: Language, budget: Budget) -> Dfa:
    """The minimal automaton of the texts that are in the first language and not in the other."""
    return minimise(_product(_automaton(language, budget), _automaton(other, budget), budget, without=True), budget)


def _automaton(language: Language, budget: Budget) -> Dfa:
    return language.dfa if isinstance(language, Machine) else minimal(language, budget)


def _product(one: Dfa, other: Dfa, budget: Budget, *, without: bool = False) -> Dfa:
    """The automaton whose states are pairs of states, of texts that both accept, or the first `without` the other.

    A pair from which nothing is accepted is the sink.
    """
    pairs = np.unique(one.byte_class * 256 + other.byte_class)
    symbols = np.searchsorted(pairs, one.byte_class * 256 + other.byte_class)
    mine, theirs = one.table[:, pairs // 256].tolist(), other.table[:, pairs % 256].tolist()
    found = [(0, 0)]
    numbers = {(0, 0): 0}
    rows = []
    for a, b in found:
        check_size("states", len(found), budget.limits.states)
        row = []
        for pair in zip(mine[a], theirs[b], strict=True):
            alive = pair[0] != one.states and (without or pair[1] != other.states)
            row.append(numbers.setdefault(pair, len(found)) if alive else -1)
            if row[-1] == len(found):
                found.append(pair)
        rows.append(row)
        budget.check_time()
    table = np.array([*rows, [-1] * len(pairs)], np.int32)
    table[table == -1] = len(found)
    accepting = [bool(one.accepting[a] and other.accepting[b] != without) for a, b in found]
    return merged_columns(symbols, table, np.array([*accepting, False]))
