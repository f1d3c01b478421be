"""The texts that a canvas may still become, and which of them is the most probable.

canvas      {   "a"   _     _     _          three masks are planned, in the rows 0, 1 and 2 of logits
layers      committed      open  open  open  and behind the last one a state has to be in `ends`
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.engine.constraint.automaton import TokenAutomaton
from app.engine.constraint.graph import FREE, OPEN, LayeredGraph, states_reaching
from app.engine.constraint.moves import Bools, Floats


@dataclass(frozen=True, slots=True)
class Lattice:
    """A part of a canvas that has to spell a text of the automaton."""

    automaton: TokenAutomaton
    start: int
    """The state before the first layer."""
    layers: tuple[int, ...]
    """For each position the class of its token, `OPEN` or `FREE`."""
    ends: Bools
    """[states]: those that are allowed behind the last layer."""
    rows: tuple[int, ...]
    """For each open layer the row of logits that predicts it."""
    known: LayeredGraph | None = None
    """A graph of all that fits, and perhaps more: of the same layers when fewer of them were committed."""
    changes_length: bool = False
    """Whether it is asked what the text would be with another number of positions."""

    @property
    def graph(self) -> LayeredGraph:
        """The edges that are on a path."""
        if self.known is not None:
            return self.known
        return LayeredGraph(self.automaton, self.start, self.layers, self.ends, with_changes=self.changes_length)

    @property
    def is_possible(self) -> bool:
        """Whether there is any text that fits."""
        return bool(states_reaching(self.automaton, self.layers, self.ends)[self.start])

    def table(self, open_rows: Floats, fits: float, fits_not: float, free: Floats | float) -> Floats:
        """Gives [layers, kinds]: the rows of open layers [open, kinds], for committed ones whether a kind has their
        class, and for masks without a distribution what is given for them."""
        if len(open_rows) == len(self.layers):
            return open_rows
        moves, labels = self.automaton.moves, np.array(self.layers, dtype=np.int64)
        table = np.empty((len(labels), moves.num_kinds))
        table[labels == OPEN] = open_rows
        table[labels == FREE] = free
        table[labels > 0] = fits_not
        for index, label in enumerate(self.layers):
            if label > 0:
                table[index, moves.kinds_of_class(label)] = fits
        return table


class Paths:
    """The best way from every node to the end.

    Args:
        best: [open, classes] the largest logarithm of a probability in each class, minus infinity where it has none.
    """

    def __init__(self, lattice: Lattice, best: Floats) -> None:
        self.lattice = lattice
        self.graph = lattice.graph
        self._best = best
        self.values: list[Floats] = []
        """For each layer the logarithm of the best path's probability from each node [nodes] before it, and behind the
        last: minus infinity where there is none."""
        self._ways: list[Floats] = []  # the same for each edge that leaves them
        if self.graph.is_possible:
            self._fill(lattice.table(lattice.automaton.moves.best_of_kinds(best), 0.0, -np.inf, 0.0))

    def _fill(self, gains: Floats) -> None:
        values = np.zeros(len(self.graph.states[-1]))
        self.values.append(values)
        for layer, gain in zip(reversed(self.graph.layers), gains[::-1], strict=True):
            ways = values.take(layer.targets)
            ways += gain.take(layer.kinds)
            values = np.empty(layer.num_before)
            values.fill(-np.inf)  # a third of the time of `np.full`
            np.maximum.at(values, layer.sources, ways)
            self.values.append(values)
            self._ways.append(ways)
        self.values.reverse()
        self._ways.reverse()

    @property
    def is_possible(self) -> bool:
        """Whether any text has a probability above zero."""
        return self.graph.is_possible and bool(self.values[0][0] > -np.inf)

    def best_classes(self) -> list[int]:
        """Gives the class at each open layer on the best path from the start; of equal ones of a kind the lowest."""
        classes_of_kind, node = self.lattice.automaton.moves.classes_of_kind, 0
        chosen: list[int] = []
        for label, layer, ways in zip(self.lattice.layers, self.graph.layers, self._ways, strict=True):
            edge, high = layer.edges_from(node)
            if high - edge > 1:
                edge += int(ways[edge:high].argmax())
            node = int(layer.targets[edge])
            if label == OPEN:
                members = classes_of_kind(int(layer.kinds[edge]))
                best = 0 if len(members) == 1 else int(self._best[len(chosen)].take(members).argmax())
                chosen.append(int(members[best]))
        return chosen
