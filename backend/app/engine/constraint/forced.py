"""The positions at which an automaton leaves no choice: only one token may come there, whatever the model holds of it.

Of the texts `ab`, `bb` and `ba` over a and b, with two masks:

    nothing committed       neither is forced
    a on the first          the second is forced: b
    b on the second         the first is not: a and b may both come there
"""

from __future__ import annotations

import numpy as np

from app.engine.constraint.automaton import TokenAutomaton
from app.engine.constraint.graph import OPEN
from app.engine.constraint.lattice import Lattice
from app.engine.constraint.moves import Bools, Indices


def forced_layers(lattice: Lattice, *, may_delete: bool = False, may_expand: bool = False) -> list[bool]:
    """Gives for each open layer whether one token alone may come there, given what is committed: no other has a place
    in a text that fits, and the position may be neither deleted nor expanded.

    Args:
        may_delete: whether a canvas may lose the position, where a text of that length fits.
        may_expand: whether two tokens may come in its place, where a text of that length fits.
    """
    graph = lattice.graph
    ways, alive = _leading_to_end(lattice)
    reached = np.ones(1, dtype=bool)
    forced = []
    for index, (layer, label) in enumerate(zip(graph.layers, lattice.layers, strict=True)):
        taken = ways[index] & reached.take(layer.sources)
        if label == OPEN:
            is_one = _is_one_token(layer.kinds.compress(taken), lattice.automaton)
            may_change = is_one and _may_change(lattice, index, reached, alive, may_delete, may_expand)
            forced.append(is_one and not may_change)
        reached = np.zeros(layer.num_behind, dtype=bool)
        reached[layer.targets.compress(taken)] = True
    return forced


def _leading_to_end(lattice: Lattice) -> tuple[list[Bools], list[Bools]]:
    """[edges] of each layer, and [nodes] before it and behind the last: those from which the end is reached, given what
    is committed."""
    graph, moves = lattice.graph, lattice.automaton.moves
    ways: list[Bools] = []
    alive: list[Bools] = [np.ones(len(graph.states[-1]), dtype=bool)]
    for layer, label in zip(reversed(graph.layers), reversed(lattice.layers), strict=True):
        own = alive[-1].take(layer.targets)
        if label > 0:
            own &= moves.has_class(label).take(layer.kinds)
        before = np.zeros(layer.num_before, dtype=bool)
        before[layer.sources.compress(own)] = True
        ways.append(own)
        alive.append(before)
    return ways[::-1], alive[::-1]


def _is_one_token(kinds: Indices, automaton: TokenAutomaton) -> bool:
    """Whether these edges are all of one class, which has one token."""
    classes = automaton.moves.classes_of_kind(int(kinds[0]))
    if len(classes) > 1 or not (kinds == kinds[0]).all():
        return False
    return len(automaton.ids_of_class(int(classes[0]))) == 1


def _may_change(
    lattice: Lattice, index: int, reached: Bools, alive: list[Bools], may_delete: bool, may_expand: bool
) -> bool:
    """Whether a text of another length goes through a state that is reached before this layer, and one that leads to
    the end behind it."""
    if not (may_delete or may_expand):
        return False
    before, behind = _states(lattice, index, reached & alive[index]), _states(lattice, index + 1, alive[index + 1])
    step_back = lattice.automaton.moves.step_back
    return bool(
        (may_delete and (before & behind).any()) or (may_expand and (before & step_back(step_back(behind))).any())
    )


def _states(lattice: Lattice, index: int, nodes: Bools) -> Bools:
    """[states]: those of the nodes before a layer that are among `nodes`."""
    states = np.zeros(lattice.automaton.num_states, dtype=bool)
    states[lattice.graph.states[index].compress(nodes)] = True
    return states
