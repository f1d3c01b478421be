"""The moves of an automaton: all edges from one state to another, taken together.

Sums and maxima over the edges of a lattice need no more than these, and there are three to four times as few. Moves
whose edges have the same classes are of one *kind*, so that each kind is summed once a layer:

    edges    0 -a-> 1    0 -b-> 1    0 -c-> 2    1 -a-> 2    1 -b-> 2
    moves    0 -> 1      0 -> 2      1 -> 2
    kinds    {a, b}: 0   {c}: 1      {a, b}: 0
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


def sums_at(places: Indices, numbers: Floats, num_places: int) -> Floats:
    """Gives the sum of the numbers that belong to each place."""
    sums: NDArray[Any] = np.bincount(places, numbers, num_places)
    return sums


class Moves:
    """All moves of an automaton, in the order of the states that they leave.

    Args:
        sources: [edges] the state that each edge leaves; edges without a token are left out.
        labels: [edges] its class.
        targets: [edges] the state that it reaches.
        num_classes: the classes, with class 0.
    """

    def __init__(
        self, sources: NDArray[Any], labels: NDArray[Any], targets: NDArray[Any], num_states: int, num_classes: int
    ) -> None:
        order = np.lexsort((labels, targets, sources))
        from_, to, labels = (column[order].astype(np.int64) for column in (sources, targets, labels))
        begins = np.flatnonzero(np.append(True, (np.diff(from_) != 0) | (np.diff(to) != 0))[: len(from_)])
        self.num_states, self.num_classes = num_states, num_classes
        self.sources: Indices = from_[begins]
        """[moves]: the state that each leaves."""
        self.targets: Indices = to[begins]
        """[moves]: the state that it reaches."""
        found: dict[bytes, int] = {}
        each = np.split(labels, begins[1:]) if len(begins) else []
        self.kinds: Indices = np.array([found.setdefault(part.tobytes(), len(found)) for part in each], dtype=np.int64)
        """[moves]: the kind of each."""
        self.members: Indices = np.frombuffer(b"".join(found), dtype=np.int64)
        """[members]: the classes of all kinds, kind by kind, those of each in ascending order."""
        self.sizes: Indices = np.array([len(key) // labels.itemsize for key in found], dtype=np.int64)
        """[kinds]: the number of classes of each."""
        self._first_members: Indices = np.append(0, np.cumsum(self.sizes))

    @property
    def num_kinds(self) -> int:
        """The number of kinds."""
        return len(self.sizes)

    def classes_of_kind(self, kind: int) -> Indices:
        """Gives the classes of a kind, in ascending order."""
        return self.members[self._first_members[kind] : self._first_members[kind + 1]]

    @cached_property
    def kind_of_member(self) -> Indices:
        """[members]: the kind that each belongs to."""
        return np.repeat(np.arange(self.num_kinds), self.sizes)

    @cached_property
    def kinds_by_class(self) -> tuple[Indices, Indices]:
        """[members]: the kinds that have each class, class by class, and [classes + 1] where each class begins among
        them. A table of kinds by classes would be as large as the square of the tokens that a constraint uses."""
        order = np.argsort(self.members, kind="stable")
        return self.kind_of_member[order], self.members[order].searchsorted(np.arange(self.num_classes + 1))

    def kinds_of_class(self, label: int) -> Indices:
        """Gives the kinds that have a class, in ascending order."""
        kinds, first = self.kinds_by_class
        return kinds[first[label] : first[label + 1]]

    def has_class(self, label: int) -> Bools:
        """Gives for each kind [kinds] whether it has a class."""
        has = np.zeros(self.num_kinds, dtype=bool)
        has[self.kinds_of_class(label)] = True
        return has

    def step_back(self, wanted: Bools) -> Bools:
        """Gives the states [states] from which one move leads to a wanted one."""
        before = np.zeros(self.num_states, dtype=bool)
        before[self.sources.compress(wanted.take(self.targets))] = True
        return before

    def step_forth(self, reached: Bools) -> Bools:
        """Gives the states [states] to which one move leads from a reached one."""
        behind = np.zeros(self.num_states, dtype=bool)
        behind[self.targets.compress(reached.take(self.sources))] = True
        return behind

    # Numbers of states, and of classes.

    def best_behind(self, values: Floats) -> Floats:
        """Gives for each state the largest value that one move leads to: [states, columns] of the same."""
        order, targets_by_rank = self._by_rank
        best = np.full_like(values, -np.inf)
        for targets in targets_by_rank:
            np.maximum(best[: len(targets)], values.take(targets, axis=0), out=best[: len(targets)])
        by_state = np.empty_like(best)
        by_state[order] = best
        return by_state

    @cached_property
    def _by_rank(self) -> tuple[Indices, list[Indices]]:
        """The states, those with the most moves first; and of these, for each rank the target of the move that has it.
        The moves 0 -> 1, 0 -> 2 and 1 -> 2: states 0, 1, 2 and targets [1, 2], [2]."""
        num_moves = np.bincount(self.sources, minlength=self.num_states)
        order = np.argsort(-num_moves, kind="stable")
        first = np.cumsum(num_moves) - num_moves
        ranks = range(int(num_moves.max(initial=0)))
        return order, [self.targets[first[order[num_moves[order] > rank]] + rank] for rank in ranks]

    def best_of_kinds(self, of_classes: Floats) -> Floats:
        """Gives the largest number of each kind's classes: [rows, classes] -> [rows, kinds]."""
        best = np.full(len(of_classes) * self.num_kinds, -np.inf)
        np.maximum.at(best, self._places(len(of_classes)), of_classes.take(self.members, axis=1).ravel())
        return best.reshape(len(of_classes), self.num_kinds)

    def sums_of_kinds(self, of_classes: Floats) -> Floats:
        """Gives the sum of each kind's classes: [rows, classes] -> [rows, kinds]."""
        return self.sums_of_members(of_classes.take(self.members, axis=1))

    def sums_of_members(self, of_members: Floats) -> Floats:
        """Gives the sum of each kind: [rows, members] -> [rows, kinds]."""
        num_rows = len(of_members)
        sums = sums_at(self._places(num_rows), of_members.ravel(), num_rows * self.num_kinds)
        return sums.reshape(num_rows, self.num_kinds)

    def sums_of_classes(self, of_members: Floats) -> Floats:
        """Gives the sum of each class over the kinds that have it: [rows, members] -> [rows, classes]."""
        num_rows = len(of_members)
        places = np.arange(num_rows)[:, None] * self.num_classes + self.members
        sums = sums_at(places.ravel(), of_members.ravel(), num_rows * self.num_classes)
        return sums.reshape(num_rows, self.num_classes)

    def _places(self, num_rows: int) -> Indices:
        """[rows · members]: where each number belongs in a table of rows by kinds."""
        places: Indices = np.arange(num_rows)[:, None] * self.num_kinds + self.kind_of_member
        return places.ravel()
