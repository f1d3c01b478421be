"""The texts that a canvas may still become: one layer of an automaton's edges for each of its positions.

    canvas      {   "a"   _     _     _          three masks are planned, in the rows 0, 1 and 2 of logits
    layers      committed      open  open  open  and behind the last one a state has to be in `ends`

The sums over all paths are those of Dang and Ermon (arXiv 2607.07026): backward once, forward once, exact for any set
of committed positions. Numbers are kept near one by the best path from each state, so that nothing underflows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.engine.constraint.automaton import Bools, TokenAutomaton

Floats = NDArray[np.float64]

OPEN = 0
"""The layer of a position whose distribution is known."""
FREE = -1
"""The layer of a mask whose distribution is not known yet: any token may come there."""

_LEAST = 1e-150
_LARGEST = 300.0
_MAX_EDGES = 2_000_000
"""Edges whose weights are computed at once: 16 MB."""
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

    @property
    def is_possible(self) -> bool:
        """Whether there is any text that fits."""
        return bool(self.reaching_end()[self.start])

    def reaching_end(self) -> Bools:
        """Gives the states [states] before the first layer from which the end is reached."""
        wanted = self.ends
        for label in reversed(self.layers):
            if label > 0:
                edges = self.automaton.edges_of_class(label)
                before = np.zeros_like(wanted)
                before[self.automaton.sources[edges]] = wanted[self.automaton.targets[edges]]
                wanted = before
            else:
                wanted = self.automaton.step_back(wanted)
        return wanted


class Paths:
    """The best way from every state of every layer to the end.

    Args:
        best: [open, classes] the largest logarithm of a probability in each class, minus infinity where it has none.
    """

    def __init__(self, lattice: Lattice, best: Floats) -> None:
        self.lattice = lattice
        self._best = best
        automaton = lattice.automaton
        self.values = np.empty((len(lattice.layers) + 1, automaton.num_states))
        """[layers + 1, states]: the logarithm of the best path's probability; minus infinity where there is none."""
        self.values[-1] = np.where(lattice.ends, 0.0, -np.inf)
        self.moves: list[NDArray[np.int32] | None] = [None] * len(lattice.layers)
        """For each layer that is not open, the state behind it by the one before; -1 where there is none."""
        self._fill()

    @property
    def is_possible(self) -> bool:
        """Whether any text has a probability above zero."""
        return bool(self.values[0, self.lattice.start] > -np.inf)

    def _fill(self) -> None:
        automaton, layers = self.lattice.automaton, self.lattice.layers
        sources_from = automaton.first_edges[:-1]
        row = len(self._best)
        for index in range(len(layers) - 1, -1, -1):
            if layers[index] == OPEN:
                row -= 1
                ways = self._best[row].take(automaton.labels)
                ways += self.values[index + 1].take(automaton.targets)
                np.maximum.reduceat(ways, sources_from, out=self.values[index])
            else:
                moves = self._moves(index)
                self.moves[index] = moves
                self.values[index] = np.where(moves >= 0, self.values[index + 1].take(moves), -np.inf)

    def _moves(self, index: int) -> NDArray[np.int32]:
        """The state behind a committed token; behind a free mask the one from which the best path goes on."""
        automaton, label = self.lattice.automaton, self.lattice.layers[index]
        if label > 0:
            moves = np.full(automaton.num_states, -1, dtype=np.int32)
            edges = automaton.edges_of_class(label)
            moves[automaton.sources[edges]] = automaton.targets[edges]
            return moves
        values = np.where(automaton.labels > 0, self.values[index + 1].take(automaton.targets), -np.inf)
        best = np.maximum.reduceat(values, automaton.first_edges[:-1])
        candidates = np.where(values == best[automaton.sources], np.arange(len(values)), len(values))
        edges = np.minimum.reduceat(candidates, automaton.first_edges[:-1])
        return np.where(best > -np.inf, automaton.targets.take(edges, mode="clip"), -1).astype(np.int32)

    def best_classes(self) -> list[int]:
        """Gives the class at each open layer on the best path from the start; of equal ones the lowest."""
        automaton, state = self.lattice.automaton, self.lattice.start
        chosen: list[int] = []
        for index, moves in enumerate(self.moves):
            if moves is not None:
                state = int(moves[state])
                continue
            low, high = automaton.first_edges[state : state + 2]
            labels, targets = automaton.labels[low:high], automaton.targets[low:high]
            edge = int((self._best[len(chosen), labels] + self.values[index + 1].take(targets)).argmax())
            state = int(targets[edge])
            chosen.append(int(labels[edge]))
        return chosen


class Posterior:
    """The distribution of the texts that fit, each as probable as the product of its tokens' probabilities.

    It is a Markov chain over states: a *step* is the probability of an edge, given the state that it leaves.

    Args:
        sums: [open, classes] the logarithm of the sum of probabilities in each class.
    """

    def __init__(self, paths: Paths, sums: Floats) -> None:
        self._lattice = paths.lattice
        self._moves = paths.moves
        self._values = paths.values
        self._sums = sums
        self._open = np.array([i for i, label in enumerate(paths.lattice.layers) if label == OPEN], dtype=np.int64)
        self._rows_together = max(1, _MAX_EDGES // len(paths.lattice.automaton.labels))
        self._weights_at: tuple[int, Floats] = (-1, np.empty((0, 0)))
        self._steps_at: tuple[int, Floats] = (-1, np.empty((0, 0)))
        self._log_scales = np.zeros(len(self._moves) + 1)
        self._totals = self._go_backward()
        self.class_probabilities = np.zeros((len(self._open), paths.lattice.automaton.num_classes))
        """[open, classes]: the probability of each class at each open layer; each row adds up to one."""
        self._states = self._go_forward()

    # Weights and steps of several open layers are computed at once, as many as memory allows.

    def _weights(self, row: int) -> Floats:
        """[edges]: what each edge of an open layer makes of the best path."""
        first = row - row % self._rows_together
        if self._weights_at[0] != first:
            automaton, layers = self._lattice.automaton, self._open[first : first + self._rows_together]
            gains = self._sums[first : first + self._rows_together].take(automaton.labels, axis=1)
            gains += self._values[layers + 1].take(automaton.targets, axis=1)
            before = self._values[layers]
            before[before == -np.inf] = 0.0
            gains -= before.take(automaton.sources, axis=1)
            self._weights_at = first, np.exp(gains, out=gains)
        weights: Floats = self._weights_at[1][row - first]
        return weights

    def _steps(self, row: int) -> Floats:
        """[edges]: the probability of each edge of an open layer, given the state that it leaves."""
        first = row - row % self._rows_together
        if self._steps_at[0] != first:
            automaton, layers = self._lattice.automaton, self._open[first : first + self._rows_together]
            self._weights(row)
            steps = self._weights_at[1] * self._totals[layers + 1].take(automaton.targets, axis=1)
            sums = np.add.reduceat(steps, automaton.first_edges[:-1], axis=1)
            steps /= np.maximum(sums, _LEAST).take(automaton.sources, axis=1)
            self._steps_at = first, steps
        steps_of_row: Floats = self._steps_at[1][row - first]
        return steps_of_row

    def _go_backward(self) -> Floats:
        """[layers + 1, states]: the probability of all paths to the end, as a multiple of that of the best one, and of
        the layer's own scale."""
        automaton = self._lattice.automaton
        totals = np.ones((len(self._moves) + 1, automaton.num_states))
        row = len(self._open)
        for index in range(len(self._moves) - 1, -1, -1):
            moves, behind = self._moves[index], totals[index + 1]
            self._log_scales[index] = self._log_scales[index + 1]
            if moves is not None:
                behind.take(moves, out=totals[index], mode="clip")
                continue
            row -= 1
            sums = np.add.reduceat(self._weights(row) * behind.take(automaton.targets), automaton.first_edges[:-1])
            if row % _LAYERS_WITHIN_RANGE == 0:
                largest = sums.max()
                sums /= largest
                self._log_scales[index] += np.log(largest)
            np.maximum(sums, _LEAST, out=totals[index])
        return totals

    def _go_forward(self) -> Floats:
        """[layers + 1, states]: the probability of being in each state before each layer."""
        automaton = self._lattice.automaton
        states = np.zeros((len(self._moves) + 1, automaton.num_states))
        states[0, self._lattice.start] = 1.0
        row = 0
        for index, moves in enumerate(self._moves):
            if moves is not None:
                is_alive = moves >= 0
                states[index + 1] = np.bincount(moves[is_alive], states[index][is_alive], automaton.num_states)
                continue
            edges = states[index].take(automaton.sources) * self._steps(row)
            self.class_probabilities[row] = np.bincount(automaton.labels, edges, automaton.num_classes)
            states[index + 1] = np.bincount(automaton.targets, edges, automaton.num_states)
            row += 1
        return states

    def draw(self, uniforms: Sequence[float]) -> tuple[list[int], list[float]]:
        """Draws a text, given one number of [0, 1) for each open layer: the class at each, and what is left of each
        number, again uniform in [0, 1)."""
        automaton, state = self._lattice.automaton, self._lattice.start
        chosen: list[int] = []
        rests: list[float] = []
        for moves in self._moves:
            if moves is not None:
                state = int(moves[state])
                continue
            low, high = automaton.first_edges[state : state + 2]
            edge, rest = pick(self._steps(len(chosen))[low:high], uniforms[len(chosen)])
            state = int(automaton.targets[low + edge])
            chosen.append(int(automaton.labels[low + edge]))
            rests.append(rest)
        return chosen, rests

    # What the text would be with another number of positions.

    def odds_without(self, logs: Floats) -> Floats:
        """Gives [open]: how probable the text is without each open layer, given the logarithms [open] of the
        probability that nothing stands there; all texts of the length that it has count as 1."""
        return self._odds(logs, lambda values: values)

    def odds_with_two(self, logs: Floats) -> Floats:
        """Gives [open]: how probable the text is with any two tokens in place of one, as above."""
        return self._odds(logs, lambda values: self._before_any(self._before_any(values)))

    def _odds(self, logs: Floats, leading_to: Callable[[Floats], Floats]) -> Floats:
        """The mean of the odds of the best continuation, over the states before each open layer."""
        odds = np.zeros(len(self._open))
        for row, index in enumerate(self._open):
            if logs[row] == -np.inf:
                continue
            reached = self._states[index] > 0
            ratios = leading_to(self._log_totals(index + 1))[reached] - self._log_totals(index)[reached]
            odds[row] = np.sum(self._states[index][reached] * np.exp(np.minimum(ratios + logs[row], _LARGEST)))
        return odds

    def _log_totals(self, index: int) -> Floats:
        totals: Floats = self._values[index] + np.log(self._totals[index]) + self._log_scales[index]
        return totals

    def _before_any(self, values: Floats) -> Floats:
        automaton = self._lattice.automaton
        behind = np.where(automaton.labels > 0, values.take(automaton.targets), -np.inf)
        best: Floats = np.maximum.reduceat(behind, automaton.first_edges[:-1])
        return best


def pick(weights: Floats, uniform: float) -> tuple[int, float]:
    """Draws an index in proportion to `weights`, and gives what is left of the number: where in the index's share it
    lies, uniform in [0, 1). Weights 1 and 3 and 0.5: index 1, of whose share a third lies below, so 1/3."""
    bounds = np.cumsum(weights)
    bounds /= bounds[-1]
    index = int(np.searchsorted(bounds, uniform, side="right"))
    index = min(index, len(bounds) - 1)
    low = float(bounds[index - 1]) if index else 0.0
    return index, min((uniform - low) / max(float(bounds[index]) - low, 1e-300), np.nextafter(1.0, 0.0))
