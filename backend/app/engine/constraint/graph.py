"""The edges of an automaton that are on a path through given layers, from the start to the end.

Of the texts `ab` and `b` over a and b, with the states 0, 1 (behind a) and 2 (the end), two masks keep:

    layer 0     0 -a-> 1                  for 0 -b-> 2 would leave nothing to stand on the second mask
    layer 1     1 -b-> 2
    nodes       0 (state 0), 1 (state 1), 2 (state 2), numbered layer by layer
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.engine.constraint.automaton import Bools, TokenAutomaton

Indices = NDArray[np.int64]

OPEN = 0
"""The layer of a position whose distribution is known."""
FREE = -1
"""The layer of a mask whose distribution is not known yet: any class may come there."""


class LayeredGraph:
    """All edges that are on a path, layer by layer. There is none where no text fits: then `is_possible` is false.

    Args:
        everywhere: whether a path may begin in any state of any layer; else it begins in `start`.
    """

    def __init__(
        self, automaton: TokenAutomaton, start: int, layers: Sequence[int], ends: Bools, *, everywhere: bool = False
    ) -> None:
        self.automaton = automaton
        reaching = _reaching_end(automaton, layers, ends)
        self.is_possible = bool(reaching[0][start])
        if self.is_possible:
            self._collect(start, layers, reaching, everywhere)

    def _collect(self, start: int, layers: Sequence[int], reaching: Sequence[Bools], everywhere: bool) -> None:
        automaton, reached = self.automaton, np.zeros(self.automaton.num_states, dtype=bool)
        reached[start] = True
        if everywhere:
            reached = reaching[0]
        self.start = int(np.count_nonzero(reached[:start]))
        """The node of the start."""
        kept, sources, targets, states = [], [], [], [np.flatnonzero(reached)]
        first_nodes, first_edges, first_node = [0], [0], 0
        for index, label in enumerate(layers):
            edges = _edges_of(automaton, label)
            edges = edges[reached[automaton.sources[edges]] & reaching[index + 1][automaton.targets[edges]]]
            behind = reaching[index + 1] if everywhere else np.zeros_like(reached)
            if not everywhere:
                behind[automaton.targets[edges]] = True
            next_node = first_node + int(np.count_nonzero(reached))
            sources.append(_numbers(reached, first_node)[automaton.sources[edges]])
            targets.append(_numbers(behind, next_node)[automaton.targets[edges]])
            kept.append(edges)
            states.append(np.flatnonzero(behind))
            reached, first_node = behind, next_node
            first_nodes.append(first_node)
            first_edges.append(first_edges[-1] + len(edges))
        self.num_nodes = first_node + int(np.count_nonzero(reached))
        edges = _joined(kept)
        self.states = _joined(states)
        """[nodes]: the state of each."""
        self.layer_of_node = np.repeat(np.arange(len(layers) + 1), [len(each) for each in states])
        self.sources, self.targets = _joined(sources), _joined(targets)
        self.labels = automaton.labels[edges].astype(np.int64)
        counts = np.diff(first_edges)
        self.keys: Indices = np.repeat(np.arange(len(layers)), counts) * automaton.num_classes + self.labels
        """[edges]: layer · classes + class, where a table of layers by classes has its number."""
        self.first_of_node: Indices = np.searchsorted(self.sources, np.arange(first_nodes[-1]))
        """[nodes before the last layer's end]: the first edge that leaves each."""
        self.layers = [
            _Layer(
                slice(first_edges[i], first_edges[i + 1]),
                slice(first_nodes[i], first_nodes[i + 1]),
                first_nodes[i + 1],
                self.targets[first_edges[i] : first_edges[i + 1]],
                self.sources[first_edges[i] : first_edges[i + 1]],
                self.first_of_node[first_nodes[i] : first_nodes[i + 1]] - first_edges[i],
            )
            for i in range(len(layers))
        ]
        self.last_nodes = slice(first_nodes[-1], self.num_nodes)


class _Layer:
    """The views of one layer's edges and nodes."""

    __slots__ = ("edges", "first", "next_node", "nodes", "sources", "targets", "within")

    def __init__(
        self, edges: slice, nodes: slice, next_node: int, targets: Indices, sources: Indices, first: Indices
    ) -> None:
        self.edges, self.nodes, self.next_node = edges, nodes, next_node
        self.targets, self.sources, self.first = targets, sources, first
        self.within = targets - next_node


def _edges_of(automaton: TokenAutomaton, label: int) -> Indices:
    return automaton.edges_of_class(label) if label > 0 else automaton.real_edges


def _numbers(members: Bools, first: int) -> Indices:
    """The number of each member, counted from `first`; those of others mean nothing."""
    numbers: Indices = np.cumsum(members) + (first - 1)
    return numbers


def _joined(parts: Sequence[Indices]) -> Indices:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def _reaching_end(automaton: TokenAutomaton, layers: Sequence[int], ends: Bools) -> list[Bools]:
    """For each layer, and behind the last, the states from which the end is reached."""
    reaching = [ends]
    for label in reversed(layers):
        if label > 0:
            edges, before = automaton.edges_of_class(label), np.zeros_like(ends)
            before[automaton.sources[edges]] = reaching[-1][automaton.targets[edges]]
        else:
            before = automaton.step_back(reaching[-1])
        reaching.append(before)
    return reaching[::-1]


def states_reaching(automaton: TokenAutomaton, layers: Sequence[int], ends: Bools) -> Bools:
    """Gives the states [states] before the first layer from which the end is reached."""
    return _reaching_end(automaton, layers, ends)[0]
