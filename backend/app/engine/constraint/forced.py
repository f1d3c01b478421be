"""The positions at which an automaton leaves no choice: only one token may come there, whatever the model holds of it.

Of the texts `ab`, `bb` and `ba` over a and b, with two masks:

    nothing committed       neither is forced
    a on the first          the second is forced: b
    b on the second         the first is not: a and b may both come there
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from app.engine.constraint.automaton import Bools
from app.engine.constraint.graph import OPEN
from app.engine.constraint.lattice import Lattice


def forced_layers(lattice: Lattice, *, may_delete: bool = False, may_expand: bool = False) -> list[bool]:
    """Gives for each open layer whether one token alone may come there, given what is committed: no other has a place
    in a text that fits, and the position may be neither deleted nor expanded.

    Args:
        may_delete: whether a canvas may lose the position, where a text of that length fits.
        may_expand: whether two tokens may come in its place, where a text of that length fits.
    """
    graph = lattice.graph
    edges, alive = _leading_to_end(lattice)
    reached = np.zeros(graph.num_nodes, dtype=bool)
    reached[graph.start] = True
    sizes = np.diff(lattice.automaton.members[1], prepend=0)
    forced = []
    for index, (layer, label) in enumerate(zip(graph.layers, lattice.layers, strict=True)):
        taken = edges[layer.edges] & reached[layer.sources]
        reached[layer.targets[taken]] = True
        if label == OPEN:
            is_one = _is_one_token(graph.labels[layer.edges][taken], sizes)
            forced.append(is_one and not _may_change(lattice, index, reached & alive, alive, may_delete, may_expand))
    return forced


def _leading_to_end(lattice: Lattice) -> tuple[Bools, Bools]:
    """[edges] and [nodes]: those from which the end is reached, given what is committed."""
    graph = lattice.graph
    alive, edges = np.zeros(graph.num_nodes, dtype=bool), np.empty(len(graph.labels), dtype=bool)
    alive[graph.last_nodes] = True
    for layer, label in zip(reversed(graph.layers), reversed(lattice.layers), strict=True):
        ways = alive[layer.targets]
        if label > 0:
            ways &= graph.labels[layer.edges] == label
        edges[layer.edges] = ways
        alive[layer.nodes] = np.logical_or.reduceat(ways, layer.first)
    return edges, alive


def _is_one_token(labels: NDArray[np.int64], sizes: NDArray[np.int64]) -> bool:
    """Whether these edges are all of one class, which has one token."""
    return bool(sizes[labels[0]] == 1 and (labels == labels[0]).all())


def _may_change(lattice: Lattice, index: int, reached: Bools, alive: Bools, may_delete: bool, may_expand: bool) -> bool:
    """Whether a text of another length goes through a state that is reached before this layer, and one that leads to
    the end behind it."""
    if not (may_delete or may_expand):
        return False
    before, behind = _states(lattice, index, reached), _states(lattice, index + 1, alive)
    step_back = lattice.automaton.step_back
    return bool(
        (may_delete and (before & behind).any()) or (may_expand and (before & step_back(step_back(behind))).any())
    )


def _states(lattice: Lattice, index: int, nodes: Bools) -> Bools:
    """[states]: those of the nodes before a layer that are among `nodes`."""
    graph = lattice.graph
    layers = graph.layers
    here = layers[index].nodes if index < len(layers) else graph.last_nodes
    states = np.zeros(lattice.automaton.num_states, dtype=bool)
    states[graph.states[here][nodes[here]]] = True
    return states
