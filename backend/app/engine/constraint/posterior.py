"""The probability of each of the texts that a canvas may still become.

The sums over all paths are those of Dang and Ermon (arXiv 2607.07026): backward once, forward once, exact for any set
of committed positions. They are sums of plain probabilities as long as these stay within the range of float64. Where
distributions are too sharp or texts too long for that, each node's sum is taken in a unit of its own: the best way on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from app.engine.constraint.graph import OPEN, LayeredGraph
from app.engine.constraint.lattice import Lattice
from app.engine.constraint.moves import Floats, Indices, sums_at

_LEAST_CHANCE = 1e-150
_LEAST_PRODUCT = 1e-300
"""While a product of the least chance and the least sum is no smaller, none of either has become zero."""
_LAYERS_WITHIN_RANGE = 8
"""Layers after which the largest sum is brought back to one."""
_LARGEST = 300.0
_BELOW_ONE = float(np.nextafter(1.0, 0.0))


@dataclass(frozen=True, slots=True)
class _Sums:
    """The sums over all paths from each node to the end, layer by layer."""

    ways: list[Floats]
    """[edges]: the part of the source's sum that goes this way."""
    totals: list[Floats]
    """[nodes]: the sum before each layer and behind the last, divided by the scales of this and of all layers behind
    it."""
    scales: list[float]
    """[layers]: the divisor of the sums before each."""
    log_units: list[Floats] | None = None
    """[nodes]: the logarithm of what each sum is a multiple of; `None`: of one."""


@dataclass(frozen=True, slots=True)
class _Nodes:
    """Nodes of all open layers, one after the other."""

    rows: Indices
    """[nodes]: the number of the open layer that each is before."""
    states: Indices
    reached: Floats
    """[nodes]: the probability to be there."""
    log_totals: Floats
    """[nodes]: the logarithm of the sum over all paths to the end."""


class Posterior:
    """The distribution of the texts that fit, each as probable as the product of its tokens' probabilities.

    Args:
        sums: [open, classes] the logarithm of the sum of probabilities in each class.
    """

    def __init__(self, lattice: Lattice, sums: Floats) -> None:
        self._lattice = lattice
        self._graph = lattice.graph
        self._moves = lattice.automaton.moves
        self._logs = sums
        self._sums = _Sums([], [np.zeros(1)], [])
        if self._graph.is_possible:
            self._sums = self._sums_of_chances() or self._sums_by_logs()

    @property
    def is_possible(self) -> bool:
        """Whether any text has a probability above zero."""
        return bool(self._sums.totals[0][0] > 0)

    @cached_property
    def _open(self) -> Indices:
        return np.flatnonzero(np.array(self._lattice.layers, dtype=np.int64) == OPEN)

    # Sums from the end to the start.

    @cached_property
    def _chances(self) -> Floats:
        """[open, classes]: the probabilities; each row adds up to one."""
        chances: Floats = np.exp(self._logs - self._logs.max(-1, initial=-1e300, keepdims=True))
        chances /= np.maximum(chances.sum(-1, keepdims=True), 1.0)
        return chances

    @cached_property
    def _chances_of_kinds(self) -> Floats:
        return self._moves.sums_of_kinds(self._chances)

    def _sums_of_chances(self) -> _Sums | None:
        """The sums of probabilities; `None` where they may have left the range of float64."""
        chances = self._chances_of_kinds
        least = _least_positive(chances)
        if least < _LEAST_CHANCE or self._has_lost(chances):
            return None
        free = self._moves.sizes / self._moves.num_classes  # at most 1 together, as the others
        table = self._lattice.table(chances, 1.0, 0.0, free)
        sums = _summed(
            self._graph, [row.take(layer.kinds) for row, layer in zip(table, self._graph.layers, strict=True)]
        )
        least_total = _least_positive(np.concatenate(sums.totals))
        return None if least_total * least < _LEAST_PRODUCT else sums

    def _has_lost(self, chances: Floats) -> bool:
        """Whether a probability has become zero that is not."""
        if chances.min(initial=1.0) > 0:
            return False
        return bool((self._moves.best_of_kinds(self._logs)[chances <= 0] > -np.inf).any())

    def _sums_by_logs(self) -> _Sums:
        """The sums, each in units of the best way on from its node. One unit for a whole layer would not do: the sums
        of two of its nodes may lie further apart than float64 reaches."""
        table = self._lattice.table(self._logs_of_kinds, 0.0, -np.inf, np.log(self._moves.sizes))
        units = np.zeros(len(self._graph.states[-1]))
        totals, logs = np.ones_like(units), units
        all_ways, all_totals, all_units = [], [totals], [units]
        for layer, row in zip(reversed(self._graph.layers), table[::-1], strict=True):
            ways = logs.take(layer.targets)
            ways += row.take(layer.kinds)
            units = np.full(layer.num_before, -np.inf)
            np.maximum.at(units, layer.sources, ways)
            ways -= np.maximum(units, -1e300).take(layer.sources)
            np.exp(ways, out=ways)
            totals = sums_at(layer.sources, ways, layer.num_before)
            logs = units + np.log(np.maximum(totals, 1.0))  # a sum is at least its best part, or there is none
            all_ways.append(ways)
            all_totals.append(totals)
            all_units.append(units)
        return _Sums(all_ways[::-1], all_totals[::-1], [1.0] * len(all_ways), all_units[::-1])

    @cached_property
    def _logs_of_kinds(self) -> Floats:
        """[open, kinds]: the logarithm of the sum of probabilities in each kind."""
        moves, best = self._moves, self._moves.best_of_kinds(self._logs)
        tops = np.where(best > -np.inf, best, 0.0)
        of_members = np.exp(self._logs.take(moves.members, axis=1) - tops.take(moves.kind_of_member, axis=1))
        with np.errstate(divide="ignore"):
            logs: Floats = np.log(moves.sums_of_members(of_members)) + tops
        return logs

    # Probabilities from the start to the end.

    @cached_property
    def _forward(self) -> tuple[list[Floats], Floats]:
        """[nodes] for each layer the probability to be at each node before it, and behind the last; and [open, kinds]
        that of each kind at each open layer."""
        sums, num_kinds = self._sums, self._moves.num_kinds
        reached = np.ones(1)
        all_reached, shares_of_kinds = [reached], []
        for index, (label, layer) in enumerate(zip(self._lattice.layers, self._graph.layers, strict=True)):
            shares = reached / np.maximum(sums.totals[index], 1e-300)
            if sums.scales[index] != 1.0:
                shares /= sums.scales[index]
            taken = shares.take(layer.sources)
            taken *= sums.ways[index]
            reached = sums_at(layer.targets, taken, layer.num_behind)
            all_reached.append(reached)
            if label == OPEN:
                shares_of_kinds.append(sums_at(layer.kinds, taken, num_kinds))
        return all_reached, np.array(shares_of_kinds).reshape(-1, num_kinds)

    @cached_property
    def class_probabilities(self) -> Floats:
        """[open, classes]: the probability of each class at each open layer; each row adds up to one."""
        moves, kinds = self._moves, self._forward[1]
        if self._sums.log_units is None:
            factors = kinds / np.where(self._chances_of_kinds > 0, self._chances_of_kinds, 1.0)
            return self._chances * moves.sums_of_classes(factors.take(moves.kind_of_member, axis=1))
        are_possible = kinds > 0
        logs = np.log(kinds, out=np.full_like(kinds, -np.inf), where=are_possible)
        np.subtract(logs, self._logs_of_kinds, out=logs, where=are_possible)  # else the difference of two infinities
        of_members = logs.take(moves.kind_of_member, axis=1)
        return moves.sums_of_classes(np.exp(of_members + self._logs.take(moves.members, axis=1)))

    # Draws.

    def draw(self, uniforms: Sequence[float]) -> tuple[list[int], list[float]]:
        """Draws a text, given one number of [0, 1) for each open layer: the class at each, and what is left of each
        number, again uniform in [0, 1)."""
        node = 0
        chosen: list[int] = []
        rests: list[float] = []
        for label, layer, ways in zip(self._lattice.layers, self._graph.layers, self._sums.ways, strict=True):
            low, high = layer.edges_from(node)
            edge, rest = pick(ways[low:high], uniforms[len(chosen)] if label == OPEN else 0.0)
            node = int(layer.targets[low + edge])
            if label == OPEN:
                chosen_class, rest = self._class_within(len(chosen), int(layer.kinds[low + edge]), rest)
                chosen.append(chosen_class)
                rests.append(rest)
        return chosen, rests

    def _class_within(self, row: int, kind: int, uniform: float) -> tuple[int, float]:
        """Draws a class of a kind."""
        classes = self._moves.classes_of_kind(kind)
        if len(classes) == 1:
            return int(classes[0]), uniform
        logs = self._logs[row].take(classes)
        index, rest = pick(np.exp(logs - logs.max()), uniform)
        return int(classes[index]), rest

    # What the text would be with another number of positions.

    def odds_without(self, logs: Floats) -> Floats:
        """Gives [open]: how probable the text is without each open layer, given the logarithms [open] of the
        probability that nothing stands there; all texts of the length that it has count as 1."""
        return self._odds(logs, lambda: self._logs_behind)

    def odds_with_two(self, logs: Floats) -> Floats:
        """Gives [open]: how probable the text is with any two tokens in place of one, as above."""
        best_behind = self._moves.best_behind
        return self._odds(logs, lambda: best_behind(best_behind(self._logs_behind)))

    def _odds(self, logs: Floats, behind: Callable[[], Floats]) -> Floats:
        """The mean, over the nodes before each open layer, of the odds of what follows: `behind` [states, open]."""
        if np.all(logs == -np.inf):
            return np.zeros(len(logs))
        if self._sums.log_units is None:
            logs = logs - self._row_logs
        nodes = self._nodes_before
        ways = behind().ravel().take(nodes.states * len(logs) + nodes.rows)
        ways -= nodes.log_totals
        ways += logs.take(nodes.rows)
        np.exp(np.minimum(ways, _LARGEST, out=ways), out=ways)
        return sums_at(nodes.rows, ways * nodes.reached, len(logs))

    @cached_property
    def _nodes_before(self) -> _Nodes:
        """All nodes before open layers where a text may be."""
        reached = np.concatenate([self._forward[0][index] for index in self._open])
        are_reached = reached > 0
        rows = np.repeat(np.arange(len(self._open)), [len(self._graph.states[index]) for index in self._open])
        states = np.concatenate([self._graph.states[index] for index in self._open])
        log_totals = np.concatenate([self._log_totals[index] for index in self._open])
        return _Nodes(*(each.compress(are_reached) for each in (rows, states, reached, log_totals)))

    @cached_property
    def _row_logs(self) -> Floats:
        """[open]: the logarithm of the sum of all classes."""
        tops = self._logs.max(-1, initial=-1e300)
        logs: Floats = np.log(np.maximum(np.exp(self._logs - tops[:, None]).sum(-1), 1.0)) + tops
        return logs

    @cached_property
    def _log_totals(self) -> list[Floats]:
        """[nodes]: for each layer the logarithm of the sum over all paths to the end."""
        scales = np.append(np.cumsum(np.log(self._sums.scales)[::-1])[::-1], 0.0)
        with np.errstate(divide="ignore"):
            logs = [np.log(each) + scale for each, scale in zip(self._sums.totals, scales, strict=True)]
        units = self._sums.log_units
        return logs if units is None else [each + unit for each, unit in zip(logs, units, strict=True)]

    @cached_property
    def _logs_behind(self) -> Floats:
        """[states, open]: the same of each state behind each open layer."""
        table = np.full((self._lattice.automaton.num_states, len(self._open)), -np.inf)
        for row, index in enumerate(self._open):
            table[self._graph.states[index + 1], row] = self._log_totals[index + 1]
        return table


def _least_positive(numbers: Floats) -> float:
    least = float(numbers.min(initial=1.0))
    return least if least > 0 else float(numbers.min(initial=1.0, where=numbers > 0))


def _summed(graph: LayeredGraph, weights: list[Floats]) -> _Sums:
    """Sums from the end to the start; `weights` [edges] of each layer become what goes by each edge."""
    totals = np.ones(len(graph.states[-1]))
    all_totals, scales = [totals], []
    for index in range(len(weights) - 1, -1, -1):
        layer, ways, scale = graph.layers[index], weights[index], 1.0
        ways *= totals.take(layer.targets)
        totals = sums_at(layer.sources, ways, layer.num_before)
        if index % _LAYERS_WITHIN_RANGE == 0:
            scale = float(totals.max()) or 1.0
            totals /= scale
        all_totals.append(totals)
        scales.append(scale)
    return _Sums(weights, all_totals[::-1], scales[::-1])


def pick(weights: Floats, uniform: float) -> tuple[int, float]:
    """Draws an index in proportion to `weights`, and gives what is left of the number: where in the index's share it
    lies, uniform in [0, 1). Weights 1 and 3 and 0.5: index 1, of whose share a third lies below, so 1/3."""
    if len(weights) == 1:
        return 0, uniform
    bounds = weights.cumsum()
    place = uniform * float(bounds[-1])
    index = min(int(bounds.searchsorted(place, side="right")), len(bounds) - 1)
    low = float(bounds[index - 1]) if index else 0.0
    return index, min((place - low) / max(float(bounds[index]) - low, 1e-300), _BELOW_ONE)
