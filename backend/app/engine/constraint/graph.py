"""The moves of an automaton that are on a path through given layers, from the start to the end.

Of the texts `ab` and `b` over a and b, with the states 0, 1 (behind a) and 2 (the end), two masks keep:

    layer 0     0 -a-> 1                  for 0 -b-> 2 would leave nothing to stand on the second mask
    layer 1     1 -b-> 2
    nodes       0 (state 0), 1 (state 1), 2 (state 2), numbered layer by layer

A move is all edges from one state to another (`moves.py`), and so is an edge of this graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.engine.constraint.automaton import TokenAutomaton
from app.engine.constraint.moves import Bools, Indices

OPEN = 0
"""The layer of a position whose distribution is known."""
FREE = -1
"""The layer of a mask whose distribution is not known yet: any class may come there."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer's edges, in the order of the nodes that they leave."""

    sources: Indices
    """[edges]: the node before the layer that each leaves."""
    targets: Indices
    """[edges]: the node behind it that each reaches."""
    kinds: Indices
    """[edges]: the kind of each."""
    num_before: int
    num_behind: int

    def edges_from(self, node: int) -> tuple[int, int]:
        """Gives the first edge that leaves a node, and the one behind the last."""
        low, high = self.sources.searchsorted((node, node + 1))
        return int(low), int(high)


class LayeredGraph:
    """All edges that are on a path, layer by layer. There is none where no text fits: then `is_possible` is false.

    Args:
        with_changes: whether a path may also begin behind any layer that a text comes to with one token less or one
            more than there are layers before: what follows if a mask is deleted, or expanded.
    """

    def __init__(
        self, automaton: TokenAutomaton, start: int, layers: Sequence[int], ends: Bools, *, with_changes: bool = False
    ) -> None:
        self.automaton = automaton
        reaching = _reaching_end(automaton, layers, ends)
        self.is_possible = bool(reaching[0, start])
        self.states: list[Indices] = []
        """For each layer the states [nodes] before it, in ascending order; and those behind the last. The first are the
        start alone."""
        self.layers: list[Layer] = []
        if self.is_possible:
            self._collect(layers, _reached(automaton, start, layers, with_changes) & reaching, reaching)

    def _collect(self, layers: Sequence[int], on_paths: Bools, reaching: Bools) -> None:
        moves = self.automaton.moves
        self.states = [np.flatnonzero(each) for each in on_paths]
        numbers = np.zeros((2, self.automaton.num_states), dtype=np.int64)
        for index, label in enumerate(layers):
            before, behind = numbers[index % 2], numbers[(index + 1) % 2]
            behind[self.states[index + 1]] = np.arange(len(self.states[index + 1]))
            if index == 0:
                before[self.states[0]] = np.arange(len(self.states[0]))
            taken = on_paths[index].take(moves.sources)
            taken &= reaching[index + 1].take(moves.targets)
            if label > 0:
                taken &= moves.has_class(label).take(moves.kinds)
            self.layers.append(
                Layer(
                    before.take(moves.sources.compress(taken)),
                    behind.take(moves.targets.compress(taken)),
                    moves.kinds.compress(taken),
                    len(self.states[index]),
                    len(self.states[index + 1]),
                )
            )


def _reached(automaton: TokenAutomaton, start: int, layers: Sequence[int], with_changes: bool) -> Bools:
    """[layers + 1, states]: which states are reached from the start before each layer, and behind the last."""
    moves, reached = automaton.moves, np.zeros((len(layers) + 1, automaton.num_states), dtype=bool)
    reached[0, start] = True
    for index, label in enumerate(layers):
        reached[index + 1] = _step_forth(automaton, label, reached[index])
    if not with_changes:
        return reached
    changed = reached.copy()
    for index, label in enumerate(layers):
        changed[index + 1] |= _step_forth(automaton, label, changed[index])
        if label <= 0:  # nothing stands there, or two tokens do
            changed[index + 1] |= reached[index] | moves.step_forth(moves.step_forth(reached[index]))
    return changed


def _step_forth(automaton: TokenAutomaton, label: int, reached: Bools) -> Bools:
    if label <= 0:
        return automaton.moves.step_forth(reached)
    edges, behind = automaton.edges_of_class(label), np.zeros_like(reached)
    behind[automaton.targets[edges].compress(reached.take(automaton.sources[edges]))] = True
    return behind


def _reaching_end(automaton: TokenAutomaton, layers: Sequence[int], ends: Bools) -> Bools:
    """[layers + 1, states]: from which states before each layer, and behind the last, the end is reached."""
    reaching = np.zeros((len(layers) + 1, automaton.num_states), dtype=bool)
    reaching[-1] = ends
    for index in range(len(layers) - 1, -1, -1):
        reaching[index] = _step_back(automaton, layers[index], reaching[index + 1])
    return reaching


def _step_back(automaton: TokenAutomaton, label: int, wanted: Bools) -> Bools:
    if label <= 0:
        return automaton.moves.step_back(wanted)
    edges, before = automaton.edges_of_class(label), np.zeros_like(wanted)
    before[automaton.sources[edges].compress(wanted.take(automaton.targets[edges]))] = True
    return before


def states_reaching(automaton: TokenAutomaton, layers: Sequence[int], ends: Bools) -> Bools:
    """Gives the states [states] before the first layer from which the end is reached."""
    states: Bools = _reaching_end(automaton, layers, ends)[0]
    return states
