"""The texts that a canvas may still become, and how probable each is.

    canvas      {   "a"   _     _     _          three masks are planned, in the rows 0, 1 and 2 of logits
    layers      committed      open  open  open  and behind the last one a state has to be in `ends`

The sums over all paths are those of Dang and Ermon (arXiv 2607.07026): backward once, forward once, exact for any set
of committed positions. Numbers are relative to the best path from each node, so that nothing underflows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from app.engine.constraint.automaton import Bools, TokenAutomaton
from app.engine.constraint.graph import FREE, OPEN, LayeredGraph, states_reaching

Floats = NDArray[np.float64]

_LEAST = 1e-150
_LARGEST = 300.0
_LAYERS_WITHIN_RANGE = 16
"""Layers after which sums over paths are brought back to at most one; each makes them at most 1e8 times as large."""


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
        return LayeredGraph(self.automaton, self.start, self.layers, self.ends, everywhere=self.changes_length)

    @property
    def is_possible(self) -> bool:
        """Whether there is any text that fits."""
        return bool(states_reaching(self.automaton, self.layers, self.ends)[self.start])

    def table(self, open_rows: Floats) -> Floats:
        """Gives [layers, classes]: the logarithms of open layers [open, classes], and of the others 0 for the classes
        that may come there."""
        table = np.full((len(self.layers), self.automaton.num_classes), -np.inf)
        table[[index for index, label in enumerate(self.layers) if label == OPEN]] = open_rows
        for index, label in enumerate(self.layers):
            if label > 0:
                table[index, label] = 0.0
            elif label == FREE:
                table[index, 1:] = 0.0
        return table


class Paths:
    """The best way from every node to the end.

    Args:
        best: [open, classes] the largest logarithm of a probability in each class, minus infinity where it has none.
    """

    def __init__(self, lattice: Lattice, best: Floats) -> None:
        self.lattice = lattice
        self.graph = lattice.graph
        self.values = np.zeros(self.graph.num_nodes if self.graph.is_possible else 1)
        """[nodes]: the logarithm of the best path's probability; minus infinity where there is none."""
        if self.graph.is_possible:
            self._gains = lattice.table(best).ravel().take(self.graph.keys)
            self._fill()

    def _fill(self) -> None:
        values, gains = self.values, self._gains
        for layer in reversed(self.graph.layers):
            ways = values.take(layer.targets)
            ways += gains[layer.edges]
            np.maximum.reduceat(ways, layer.first, out=values[layer.nodes])

    @property
    def is_possible(self) -> bool:
        """Whether any text has a probability above zero."""
        return self.graph.is_possible and bool(self.values[self.graph.start] > -np.inf)

    def best_classes(self) -> list[int]:
        """Gives the class at each open layer on the best path from the start; of equal ones the lowest."""
        graph, node = self.graph, self.graph.start
        chosen: list[int] = []
        bounds = np.append(graph.first_of_node, len(graph.sources))
        for label in self.lattice.layers:
            low, high = bounds[node], bounds[node + 1]
            edge = low + int((self._gains[low:high] + self.values.take(graph.targets[low:high])).argmax())
            node = int(graph.targets[edge])
            if label == OPEN:
                chosen.append(int(graph.labels[edge]))
        return chosen


class Posterior:
    """The distribution of the texts that fit, each as probable as the product of its tokens' probabilities.

    It is a Markov chain over nodes: a *step* is the probability of an edge, given the node that it leaves.

    Args:
        sums: [open, classes] the logarithm of the sum of probabilities in each class.
    """

    def __init__(self, paths: Paths, sums: Floats) -> None:
        self._lattice = paths.lattice
        self._graph = paths.graph
        self._values = paths.values
        self._steps = self._go_backward(sums)
        self._reached, edges = self._go_forward()
        num_classes = self._lattice.automaton.num_classes
        shares = np.bincount(self._graph.keys, edges, len(self._lattice.layers) * num_classes).astype(np.float64)
        self.class_probabilities: Floats = shares.reshape(-1, num_classes)[self._open]
        """[open, classes]: the probability of each class at each open layer; each row adds up to one."""

    @cached_property
    def _open(self) -> NDArray[np.int64]:
        return np.array([i for i, label in enumerate(self._lattice.layers) if label == OPEN], dtype=np.int64)

    def _go_backward(self, sums: Floats) -> Floats:
        """[edges]: the steps. On the way `_totals` [nodes] become the probability of all paths to the end, as a
        multiple of that of the best one, and of the layer's own scale."""
        graph = self._graph
        weights = self._lattice.table(sums).ravel().take(graph.keys)
        weights += self._values.take(graph.targets)
        weights -= np.where(self._values > -np.inf, self._values, 0.0).take(graph.sources)
        np.exp(weights, out=weights)
        self._totals = totals = np.ones(graph.num_nodes)
        self._log_scales = np.zeros(len(graph.layers) + 1)
        unscaled = np.empty(graph.last_nodes.start)
        for index in range(len(graph.layers) - 1, -1, -1):
            layer = graph.layers[index]
            ways = weights[layer.edges]
            ways *= totals.take(layer.targets)
            sums_of = unscaled[layer.nodes]
            np.add.reduceat(ways, layer.first, out=sums_of)
            np.maximum(sums_of, _LEAST, out=sums_of)
            self._log_scales[index] = self._log_scales[index + 1]
            if index % _LAYERS_WITHIN_RANGE == 0:
                largest = sums_of.max()
                self._log_scales[index] += np.log(largest)
                totals[layer.nodes] = np.maximum(sums_of / largest, _LEAST)
            else:
                totals[layer.nodes] = sums_of
        weights /= unscaled.take(graph.sources)
        return weights

    def _go_forward(self) -> tuple[Floats, Floats]:
        """[nodes] the probability of being there, and [edges] that of taking each edge."""
        graph = self._graph
        reached = np.zeros(graph.num_nodes)
        reached[graph.start] = 1.0
        edges = self._steps.copy()
        for layer in graph.layers:
            taken = edges[layer.edges]
            taken *= reached.take(layer.sources)
            shares = np.bincount(layer.within, taken)
            reached[layer.next_node : layer.next_node + len(shares)] = shares
        return reached, edges

    def draw(self, uniforms: Sequence[float]) -> tuple[list[int], list[float]]:
        """Draws a text, given one number of [0, 1) for each open layer: the class at each, and what is left of each
        number, again uniform in [0, 1)."""
        graph, node = self._graph, self._graph.start
        bounds = np.append(graph.first_of_node, len(graph.sources))
        chosen: list[int] = []
        rests: list[float] = []
        for label in self._lattice.layers:
            low, high = bounds[node], bounds[node + 1]
            uniform = uniforms[len(chosen)] if label == OPEN else 0.0
            index, rest = pick(self._steps[low:high], uniform)
            node = int(graph.targets[low + index])
            if label == OPEN:
                chosen.append(int(graph.labels[low + index]))
                rests.append(rest)
        return chosen, rests

    # What the text would be with another number of positions.

    def odds_without(self, logs: Floats) -> Floats:
        """Gives [open]: how probable the text is without each open layer, given the logarithms [open] of the
        probability that nothing stands there; all texts of the length that it has count as 1."""
        return self._odds(logs, 0)

    def odds_with_two(self, logs: Floats) -> Floats:
        """Gives [open]: how probable the text is with any two tokens in place of one, as above."""
        return self._odds(logs, 2)

    def _odds(self, logs: Floats, num_tokens: int) -> Floats:
        """The mean of the odds of the best continuation, over the nodes before each open layer."""
        automaton = self._lattice.automaton
        log_totals = self._values + np.log(self._totals) + self._log_scales[self._graph.layer_of_node]
        by_state = self._spread(log_totals, -np.inf)
        before, behind = by_state[self._open], by_state[self._open + 1]
        for _ in range(num_tokens):
            ways = np.where(automaton.labels > 0, behind.take(automaton.targets, axis=1), -np.inf)
            behind = np.maximum.reduceat(ways, automaton.first_edges[:-1], axis=1)
        reached = self._spread(self._reached, 0.0)[self._open]
        with np.errstate(invalid="ignore"):  # of states from which nothing leads on, where nobody is
            ways = reached * np.exp(np.minimum(behind - before + logs[:, None], _LARGEST))
        odds: Floats = np.sum(ways, axis=1, where=reached > 0)
        return odds

    def _spread(self, of_nodes: Floats, otherwise: float) -> Floats:
        """Gives [layers + 1, states]: what each node has, by its layer and state."""
        table = np.full((len(self._graph.layers) + 1, self._lattice.automaton.num_states), otherwise)
        table[self._graph.layer_of_node, self._graph.states] = of_nodes
        return table


def pick(weights: Floats, uniform: float) -> tuple[int, float]:
    """Draws an index in proportion to `weights`, and gives what is left of the number: where in the index's share it
    lies, uniform in [0, 1). Weights 1 and 3 and 0.5: index 1, of whose share a third lies below, so 1/3."""
    bounds = np.cumsum(weights)
    bounds /= bounds[-1]
    index = min(int(bounds.searchsorted(uniform, side="right")), len(bounds) - 1)
    low = float(bounds[index - 1]) if index else 0.0
    return index, min((uniform - low) / max(float(bounds[index]) - low, 1e-300), np.nextafter(1.0, 0.0))
