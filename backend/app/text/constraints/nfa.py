"""Thompson's construction: a tree of languages becomes a nondeterministic automaton over ranges of bytes."""

from __future__ import annotations

from collections.abc import Callable
from functools import singledispatchmethod

from app.text.constraints import language as tree
from app.text.constraints.characters import utf8
from app.text.constraints.language import Language
from app.text.constraints.limits import Budget, check_size

Edge = tuple[int, int, int]
"""The first byte, the last byte (included) and the state behind."""


class Nfa:
    """An automaton with ranges of bytes and free steps on its edges; it starts in state 0 and ends in state 1."""

    def __init__(self, language: Language, budget: Budget) -> None:
        self.edges: list[list[Edge]] = [[], []]
        self.free: list[list[int]] = [[], []]
        self._budget = budget
        self._add(language, 0, 1)

    def _state(self) -> int:
        check_size("states", len(self.edges), self._budget.limits.nfa_states)
        if len(self.edges) % 1000 == 0:
            self._budget.check_time()
        self.edges.append([])
        self.free.append([])
        return len(self.edges) - 1

    @singledispatchmethod
    def _add(self, language: Language, start: int, end: int) -> None:
        """Adds a language between two states."""
        raise TypeError(f"{language!r} is no language")

    @_add.register
    def _chars(self, language: tree.Chars, start: int, end: int) -> None:
        """Adds the UTF-8 of the characters; equal tails share their states."""
        tails: dict[Edge, int] = {}
        for *heads, last in (reversed(sequence) for sequence in utf8(language.ranges)):
            behind = end
            for low, high in heads:
                edge = (low, high, behind)
                if edge not in tails:
                    tails[edge] = self._state()
                    self.edges[tails[edge]].append(edge)
                behind = tails[edge]
            self.edges[start].append((*last, behind))

    @_add.register
    def _literal(self, language: tree.Literal, start: int, end: int) -> None:
        for byte in language.text:
            behind = self._state()
            self.edges[start].append((byte, byte, behind))
            start = behind
        self.free[start].append(end)

    @_add.register
    def _sequence(self, language: tree.Sequence, start: int, end: int) -> None:
        for part in language.parts[:-1]:
            behind = self._state()
            self._add(part, start, behind)
            start = behind
        self._add(language.parts[-1], start, end)

    @_add.register
    def _choice(self, language: tree.Choice, start: int, end: int) -> None:
        for part in language.parts:
            first = self._state()
            self.free[start].append(first)
            self._add(part, first, end)

    @_add.register
    def _repeat(self, language: tree.Repeat, start: int, end: int) -> None:
        """Adds copies of the part one behind the other; the last one loops where there is no end."""
        if language.low == 0:
            self.free[start].append(end)
        copies = max(language.low, 1) if language.high is None else language.high
        check_size("states", copies, self._budget.limits.nfa_states)
        for number in range(1, copies + 1):
            first, behind = self._state(), self._state()
            self._add(language.separator if number > 1 else tree.EMPTY, start, first)
            self._add(language.part, first, behind)
            if number >= language.low:
                self.free[behind].append(end)
            start = behind
        if language.high is None:
            self._add(language.separator, behind, first)

    @_add.register
    def _members(self, language: tree.Members, start: int, end: int) -> None:
        """Adds two rails, before and behind the first member; each member leads to the second."""
        before: int | None = start
        behind = self._state()
        for part, required in language.parts:
            first, after = self._state(), self._state()
            if before is not None:
                self.free[before].append(first)
            self._add(language.separator, behind, first)
            self._add(part, first, after)
            if required:
                before = None
            else:
                self.free[behind].append(after)
            behind = after
        for rail in (before, behind):
            if rail is not None:
                self.free[rail].append(end)

    @_add.register
    def _machine(self, language: tree.Machine, start: int, end: int) -> None:
        dfa = language.dfa
        states = [self._state() for _ in range(dfa.states)]
        self.free[start].append(states[0])
        for state, edges in zip(states, dfa.ranges(), strict=True):
            self.edges[state] = [(low, high, states[target]) for low, high, target in edges]
        for state, accepts in zip(states, dfa.accepting.tolist(), strict=False):
            if accepts:
                self.free[state].append(end)


Closure = Callable[[frozenset[int]], frozenset[int]]


def closure_of(nfa: Nfa, budget: Budget) -> Closure:
    """The function that adds to a set of states all that free steps lead to, and drops those with free steps alone."""

    def closure(states: frozenset[int]) -> frozenset[int]:
        seen = set(states)
        stack = list(states)
        while stack:
            for behind in nfa.free[stack.pop()]:
                if behind not in seen:
                    seen.add(behind)
                    stack.append(behind)
        budget.spend_members(len(seen))
        return frozenset(state for state in seen if nfa.edges[state] or state == 1)

    return closure
