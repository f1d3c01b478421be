"""Minimisation: states from which the same texts are accepted become one.

Most automata of schemas are long and nearly free of cycles, where refinement of a partition takes as many rounds as the
automaton is deep. So the strongly connected components (Tarjan 1972) are taken from the end to the start, as Revuz
(1992) does for automata without cycles: a state alone is looked up by its row, and only the states of a cycle are
refined among themselves.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from app.text.constraints.dfa import Dfa, merged_columns
from app.text.constraints.graph import reached
from app.text.constraints.limits import Budget

Table = NDArray[np.int32]


def minimise(dfa: Dfa, budget: Budget) -> Dfa:
    """The automaton with equivalent states merged and useless ones dropped.

    Two cycles that stand apart and accept the same stay two: this costs states, nothing else.
    """
    table = _without_useless(dfa)
    names = _names(table, dfa.accepting, budget)
    return _renumbered(names[table], dfa.accepting, names, dfa.byte_class)


def _without_useless(dfa: Dfa) -> Table:
    """The table in which all states that reach no accepting one are replaced by the sink."""
    sources = np.repeat(np.arange(len(dfa.table)), dfa.table.shape[1])
    useful = reached(dfa.table.ravel(), sources, dfa.accepting)
    return np.where(useful[dfa.table], dfa.table, dfa.states).astype(np.int32)


def _names(table: Table, accepting: NDArray[np.bool_], budget: Budget) -> Table:
    """A representative of each state, equal for states that are found equivalent."""
    names = np.arange(len(table), dtype=np.int32)
    known = {_key(table[-1], accepting[-1]): len(table) - 1}
    for component in components(table, budget):
        if len(component) > 1:
            _refine(np.array(component), table, accepting, names, budget)
        for state in component:
            if names[state] == state:
                names[state] = known.setdefault(_key(names[table[state]], accepting[state]), state)
        budget.check_time()
    return names


def _key(row: Table, accepts: np.bool_) -> tuple[bytes, bool]:
    return row.tobytes(), bool(accepts)


def _refine(
    members: NDArray[np.int64], table: Table, accepting: NDArray[np.bool_], names: Table, budget: Budget
) -> None:
    """Names the states of a cycle by the coarsest partition in which equal ones have equal rows (Moore 1956)."""
    names[members] = members[np.where(accepting[members], accepting[members].argmax(), (~accepting[members]).argmax())]
    count = 0
    while True:
        first: dict[tuple[bytes, int], int] = {}
        rows = zip(members.tolist(), names[table[members]], names[members].tolist(), strict=True)
        renamed = [first.setdefault((row.tobytes(), name), member) for member, row, name in rows]
        names[members] = renamed
        budget.check_time()
        if len(first) == count:
            return
        count = len(first)


def components(table: Table, budget: Budget) -> list[list[int]]:
    """The strongly connected components of what state 0 reaches, those behind first; the sink is left out."""
    sink = len(table) - 1
    behind = [sorted(set(row) - {sink}) for row in table[:-1].tolist()]
    order: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    on_stack: set[int] = set()
    found: list[list[int]] = []
    calls = [(0, iter(behind[0]))]
    order[0] = low[0] = 0
    stack.append(0)
    on_stack.add(0)
    while calls:
        state, rest = calls[-1]
        for target in rest:
            if target not in order:
                order[target] = low[target] = len(order)
                stack.append(target)
                on_stack.add(target)
                calls.append((target, iter(behind[target])))
                break
            if target in on_stack:
                low[state] = min(low[state], order[target])
        else:
            calls.pop()
            budget.check_time()
            if calls:
                low[calls[-1][0]] = min(low[calls[-1][0]], low[state])
            if low[state] == order[state]:
                found.append(_popped(stack, state))
                on_stack.difference_update(found[-1])
    return found


def _popped(stack: list[int], state: int) -> list[int]:
    """Takes all from the stack down to a state, this one included."""
    popped = [stack.pop()]
    while popped[-1] != state:
        popped.append(stack.pop())
    return popped


def _renumbered(table: Table, accepting: NDArray[np.bool_], names: Table, byte_class: NDArray[np.int64]) -> Dfa:
    """The automaton with only those states that the start reaches, numbered as they are found."""
    sink = len(table) - 1
    found = [int(names[0])] if names[0] != sink else []
    numbers = {state: number for number, state in enumerate(found)}
    for state in found:
        for target in dict.fromkeys(table[state].tolist()):
            if target != sink and target not in numbers:
                numbers[target] = len(found)
                found.append(target)
    renumber = np.full(len(table), max(len(found), 1), np.int32)
    renumber[found] = np.arange(len(found))
    rows = found or [sink]
    dense = np.vstack([renumber[table[rows]], np.full((1, table.shape[1]), len(rows), np.int32)])
    return merged_columns(byte_class, dense, np.append(accepting[rows], False))
