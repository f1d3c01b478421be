"""Deterministic automata over bytes, and the subset construction that makes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from app.text.constraints.language import Language
from app.text.constraints.limits import Budget, check_size
from app.text.constraints.nfa import Edge, Nfa, closure_of


@dataclass(frozen=True, eq=False)
class Dfa:
    """An automaton that starts in state 0; bytes with equal columns share a class.

    One more state stands behind the others: the sink, from where nothing leads anywhere.

    byte_class  [256]                  int64
    table       [states + 1, classes]  int32, the state behind
    accepting   [states + 1]           bool
    """

    byte_class: NDArray[np.int64]
    table: NDArray[np.int32]
    accepting: NDArray[np.bool_]

    @property
    def states(self) -> int:
        """The number of states, without the sink."""
        return len(self.table) - 1

    @property
    def empty(self) -> bool:
        """Whether no text is accepted; holds for an automaton without useless states."""
        return not self.accepting.any()

    def accepts(self, text: bytes) -> bool:
        """Whether the automaton accepts a text."""
        state = 0
        for byte in text:
            state = int(self.table[state, self.byte_class[byte]])
        return bool(self.accepting[state])

    def ranges(self) -> Iterator[list[Edge]]:
        """The edges of each state, as ranges of bytes."""
        cuts = [0, *(np.flatnonzero(np.diff(self.byte_class)) + 1).tolist(), 256]
        spans = list(pairwise(cuts))
        classes = self.byte_class[[low for low, _ in spans]]
        for row in self.table[:-1, classes].tolist():
            shown = zip(spans, row, strict=True)
            yield [(low, high - 1, target) for (low, high), target in shown if target != self.states]


def dfa_of_rows(rows: list[list[Edge]], accepting: list[bool]) -> Dfa:
    """The automaton with these edges, of which those of one state are apart."""
    cuts = sorted({0, 256}.union(*({low, high + 1} for edges in rows for low, high, _ in edges)))
    symbol = {cut: number for number, cut in enumerate(cuts)}
    table = np.full((len(rows) + 1, len(cuts) - 1), len(rows), np.int32)
    for state, edges in enumerate(rows):
        for low, high, target in edges:
            table[state, symbol[low] : symbol[high + 1]] = target
    return merged_columns(np.repeat(np.arange(len(cuts) - 1), np.diff(cuts)), table, np.array([*accepting, False]))


def merged_columns(symbols: NDArray[np.int64], table: NDArray[np.int32], accepting: NDArray[np.bool_]) -> Dfa:
    """The automaton of a table of [states + 1, symbols], with one class for all symbols whose columns are equal."""
    columns: dict[bytes, int] = {}
    classes = [columns.setdefault(column.tobytes(), len(columns)) for column in np.ascontiguousarray(table.T)]
    first = [classes.index(number) for number in range(len(columns))]
    return Dfa(np.array(classes)[symbols], np.ascontiguousarray(table[:, first]), accepting)


def determinise(language: Language, budget: Budget) -> Dfa:
    """The automaton of a language, by the subset construction; states may be equivalent or useless."""
    nfa = Nfa(language, budget)
    closure = closure_of(nfa, budget)
    sets = [closure(frozenset([0]))]
    numbers = {sets[0]: 0}
    known: dict[frozenset[int], int] = {}
    rows: list[list[Edge]] = []
    for members in sets:
        check_size("states", len(sets), budget.limits.states)
        row = []
        for low, high, targets in _segments([edge for member in members for edge in nfa.edges[member]]):
            if targets not in known:
                behind = closure(targets)
                known[targets] = numbers.setdefault(behind, len(sets))
                if known[targets] == len(sets):
                    sets.append(behind)
            row.append((low, high, known[targets]))
        rows.append(row)
    return dfa_of_rows(rows, [1 in members for members in sets])


def _segments(edges: list[Edge]) -> Iterator[tuple[int, int, frozenset[int]]]:
    """The ranges of bytes in which the edges lead to the same states: a-f to 1 and c-z to 2 is a-b, c-f and g-z."""
    cuts = sorted({low for low, _, _ in edges} | {high + 1 for _, high, _ in edges})
    for low, behind in pairwise(cuts):
        targets = frozenset(target for first, last, target in edges if first <= low <= last)
        if targets:
            yield low, behind - 1, targets
