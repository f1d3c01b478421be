"""A finite automaton over token ids: the texts that a constraint allows, spelled in any way the vocabulary can.

Tokens that lead the same way from every state are one class. The texts `a`, `ab` and `abab…` over the tokens
a, b, ab and eos, with classes 1 (a), 2 (b) and 3 (ab), and state 0 the start:

    edges       0 -a-> 1    0 -ab-> 2    1 -b-> 2    2 -ab-> 2    2 -a-> 1
    accepting   1, 2
    with ends   1 -eos-> 3    2 -eos-> 3    3 -eos-> 3, where 3 is accepting too: nothing follows the end of the text
"""

from __future__ import annotations

from functools import cached_property
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from app.engine.constraint.lengths import StatesByLength
from app.engine.constraint.moves import Bools, Moves

Ints = NDArray[np.int32]


class TokenAutomaton:
    """A deterministic automaton over token ids, whose state 0 is the start. Any thread may use it.

    Args:
        classes: [vocab] the class of each token id; 0 for those that lead nowhere from any state.
        sources: [edges] the state that each edge leaves, in ascending order.
        labels: [edges] its class, at least 1, in ascending order among the edges of one state.
        targets: [edges] the state that it reaches.
        accepting: [states] whether a text may end there. From every state one of these is reached.
    """

    def __init__(self, classes: Ints, sources: Ints, labels: Ints, targets: Ints, accepting: Bools) -> None:
        self.classes = classes
        self.accepting = accepting
        self.num_states = len(accepting)
        self.num_classes = int(classes.max(initial=0)) + 1
        # Every state leaves by an edge, so that sums over the edges of each state have no gaps: where there is none, by
        # one of the class without tokens.
        dead_ends = np.setdiff1d(np.arange(self.num_states, dtype=np.int32), sources)
        order = np.lexsort((np.append(labels, 0 * dead_ends), np.append(sources, dead_ends)))
        self.sources: Ints = np.append(sources, dead_ends)[order].astype(np.int32)
        self.labels: Ints = np.append(labels, 0 * dead_ends)[order].astype(np.int32)
        self.targets: Ints = np.append(targets, dead_ends)[order].astype(np.int32)
        self._closed: dict[tuple[int, ...], TokenAutomaton] = {}
        self._lengths = StatesByLength(accepting)
        self._lock = Lock()

    # Its edges.

    @cached_property
    def first_edges(self) -> NDArray[np.int64]:
        """[states + 1]: the edges of state q are those from the q-th number to the next."""
        return np.searchsorted(self.sources, np.arange(self.num_states + 1)).astype(np.int64)

    @cached_property
    def moves(self) -> Moves:
        """The edges that a token takes, from one state to another together."""
        real = self.labels > 0
        columns = self.sources[real], self.labels[real], self.targets[real]
        return Moves(*columns, self.num_states, self.num_classes)

    @cached_property
    def edges_by_class(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """All edges, class by class, and [classes + 1] where each class begins among them."""
        order = np.argsort(self.labels, kind="stable")
        return order, np.searchsorted(self.labels[order], np.arange(self.num_classes + 1))

    def edges_of_class(self, label: int) -> NDArray[np.int64]:
        """Gives the edges of one class, in the order of the states they leave."""
        order, first = self.edges_by_class
        return order[first[label] : first[label + 1]] if label else order[:0]

    @cached_property
    def members(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The ids that lead anywhere, class by class in ascending order, and [classes] where class c + 1 begins."""
        order = np.argsort(self.classes, kind="stable")
        first = np.searchsorted(self.classes[order], np.arange(1, self.num_classes + 1))
        return order[first[0] :].copy(), first - first[0]  # a view would hold the ids that lead nowhere, too

    @cached_property
    def bounds_of_classes(self) -> list[int]:
        """[classes]: the same as plain numbers."""
        bounds: list[int] = self.members[1].tolist()
        return bounds

    def ids_of_class(self, label: int) -> NDArray[np.int64]:
        """Gives the token ids of one class, in ascending order; `label` is at least 1."""
        ids, first = self.members
        return ids[first[label - 1] : first[label]]

    def next(self, state: int, token_id: int) -> int | None:
        """Gives the state behind a token; `None` where no allowed text goes on with it."""
        label = int(self.classes[token_id])
        low, high = (int(first) for first in self.first_edges[state : state + 2])
        edge = low + int(np.searchsorted(self.labels[low:high], label))
        return int(self.targets[edge]) if label and edge < high and self.labels[edge] == label else None

    def run(self, token_ids: list[int] | tuple[int, ...], state: int = 0) -> int | None:
        """Gives the state behind a text; `None` where no allowed text begins like that."""
        after: int | None = state
        for token_id in token_ids:
            after = None if after is None else self.next(after, token_id)
        return after

    def step_back(self, wanted: Bools) -> Bools:
        """Gives the states [states] from which one token leads to a wanted one."""
        return np.logical_or.reduceat(wanted[self.targets] & (self.labels > 0), self.first_edges[:-1])

    # Its lengths, in tokens.

    @cached_property
    def distances(self) -> NDArray[np.int64]:
        """[states]: the least number of tokens that lead to an accepting state."""
        distances = np.where(self.accepting, 0, -1)
        reached, length = self.accepting, 0
        while (distances < 0).any():
            length += 1
            reached = self.step_back(reached)
            distances[reached & (distances < 0)] = length
        return distances

    def accepting_in(self, length: int) -> Bools:
        """Gives the states [states] from which exactly so many tokens lead to an accepting one."""
        return self._lengths.states(length, self.step_back)

    def accepts_in(self, length: int, state: int) -> bool:
        """Whether exactly so many tokens lead from a state to an accepting one."""
        return self._lengths.has(length, state, self.step_back)

    # Its end.

    def closed_by(self, end_ids: tuple[int, ...]) -> TokenAutomaton:
        """Gives the automaton of the same texts with any number of end tokens behind each. The ids are no text."""
        with self._lock:
            if end_ids not in self._closed:
                self._closed[end_ids] = self._with_ends(end_ids)
            return self._closed[end_ids]

    def _with_ends(self, end_ids: tuple[int, ...]) -> TokenAutomaton:
        classes = self.classes.copy()
        assert not classes[list(end_ids)].any(), "an end token is no text"
        end_class, end_state = self.num_classes, self.num_states
        classes[list(end_ids)] = end_class
        ending = np.append(np.flatnonzero(self.accepting), end_state).astype(np.int32)
        is_real = self.labels > 0
        return TokenAutomaton(
            classes,
            np.append(self.sources[is_real], ending),
            np.append(self.labels[is_real], np.full_like(ending, end_class)),
            np.append(self.targets[is_real], np.full_like(ending, end_state)),
            np.append(self.accepting, True),
        )
