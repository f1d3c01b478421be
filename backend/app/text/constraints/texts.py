"""Automata of finite sets of texts."""

from __future__ import annotations

from collections.abc import Iterable

from app.text.constraints.dfa import Dfa, dfa_of_rows
from app.text.constraints.limits import Budget, check_size

Key = tuple[bool, tuple[tuple[int, int], ...]]


class _Registry:
    """The states with equal continuations, which become one (Daciuk and others 2000)."""

    def __init__(self, budget: Budget) -> None:
        self.rows: list[Key] = []
        self._numbers: dict[Key, int] = {}
        self._budget = budget

    def number(self, accepts: bool, edges: dict[int, int]) -> int:
        """The number of the state with these continuations."""
        key = (accepts, tuple(sorted(edges.items())))
        found = self._numbers.setdefault(key, len(self.rows))
        if found == len(self.rows):
            self.rows.append(key)
            check_size("states", found, self._budget.limits.states)
        return found


def dfa_of_texts(texts: Iterable[bytes], budget: Budget) -> Dfa:
    """The smallest automaton that accepts these texts and no others; there is at least one text."""
    registry = _Registry(budget)
    open_states: list[tuple[bool, dict[int, int]]] = [(False, {})]
    before = b""
    for text in sorted(set(texts)):
        _close(registry, open_states, before, _shared(before, text))
        open_states += [(False, {}) for _ in range(len(text) + 1 - len(open_states))]
        open_states[-1] = (True, open_states[-1][1])
        before = text
        budget.check_time()
    _close(registry, open_states, before, 0)
    registry.rows.append((open_states[0][0], tuple(sorted(open_states[0][1].items()))))
    return _from_the_end(registry.rows)


def _shared(one: bytes, other: bytes) -> int:
    """The number of bytes with which both begin."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


def _close(registry: _Registry, open_states: list[tuple[bool, dict[int, int]]], text: bytes, depth: int) -> None:
    """Registers the states of a text below a depth, which no later text reaches."""
    while len(open_states) > depth + 1:
        number = registry.number(*open_states.pop())
        open_states[-1][1][text[len(open_states) - 1]] = number


def _from_the_end(rows: list[Key]) -> Dfa:
    """The automaton whose start is the last of the rows."""
    last = len(rows) - 1
    edges = [[(byte, byte, last - target) for byte, target in edges] for _, edges in reversed(rows)]
    return dfa_of_rows(edges, [accepts for accepts, _ in reversed(rows)])
