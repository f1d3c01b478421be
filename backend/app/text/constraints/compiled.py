"""Automata over tokens, with classes of tokens that do the same in every state."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from app.text.constraints.dfa import Dfa
from app.text.constraints.graph import reached
from app.text.constraints.limits import Budget, check_size
from app.text.constraints.token_maps import Maps, maps_of_tokens
from app.text.constraints.vocabulary import Vocabulary
from app.text.errors import ConstraintError

Integers = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class CompiledConstraint:
    """An automaton over tokens that starts in state 0; every state is reachable and can reach an accepting one.

    classes    [vocab]   int32  class of each token id; class 0 leads nowhere from any state
    sources    [edges]   int32  ascending
    labels     [edges]   int32  class of the edge, at least 1, ascending within a source
    targets    [edges]   int32
    accepting  [states]  bool   whether the text may end here; the end-of-text token has no edge
    """

    classes: Integers
    num_classes: int
    sources: Integers
    labels: Integers
    targets: Integers
    accepting: NDArray[np.bool_]

    @property
    def nbytes(self) -> int:
        """The size of the arrays in bytes."""
        arrays = (self.classes, self.sources, self.labels, self.targets, self.accepting)
        return sum(array.nbytes for array in arrays)


def over_tokens(dfa: Dfa, vocabulary: Vocabulary, budget: Budget) -> CompiledConstraint:
    """The automaton over the tokens of a vocabulary that spells the same texts as one over bytes."""
    of_token, maps = maps_of_tokens(dfa, vocabulary, budget)
    used = np.unique(of_token)
    used = used[used > 0]
    check_size("edges", sum(len(maps.sources[number]) for number in used.tolist()), budget.limits.edges)
    sources, targets, labels = _edges(maps, used)
    kept = _useful(sources, targets, dfa.accepting[:-1])
    whole = kept[sources] & kept[targets]
    states = np.cumsum(kept, dtype=np.int32) - 1
    edges = states[sources[whole]], labels[whole], states[targets[whole]]
    merged, count = _merged(*edges, len(used) + 1)
    names = np.zeros(len(maps.sources), np.int32)
    names[used] = merged[1:]
    return _sorted(names[of_token], count, *edges, merged, dfa.accepting[:-1][kept])


def _edges(maps: Maps, used: NDArray[np.int64]) -> tuple[Integers, Integers, Integers]:
    """Sources, targets and labels of all edges of the maps in use, which are numbered from 1."""
    numbers = used.tolist()
    empty = np.empty(0, np.int32)
    lengths = [len(maps.sources[number]) for number in numbers]
    return (
        np.concatenate([empty, *(maps.sources[number] for number in numbers)]),
        np.concatenate([empty, *(maps.targets[number] for number in numbers)]),
        np.repeat(np.arange(1, len(numbers) + 1, dtype=np.int32), lengths),
    )


def _useful(sources: Integers, targets: Integers, accepting: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The states that stand on a path of tokens from the start to an accepting state."""
    start = np.zeros(len(accepting), np.bool_)
    start[0] = True
    useful = reached(sources, targets, start) & reached(targets, sources, accepting)
    if not useful[0]:
        raise ConstraintError(
            "No text that satisfies the constraint can be spelled with the tokens of this model's vocabulary. "
            "Allow other characters."
        )
    return useful


def _merged(sources: Integers, labels: Integers, targets: Integers, count: int) -> tuple[Integers, int]:
    """A new class of each class, equal where the edges are, and their number; edges are sorted by class."""
    starts = np.searchsorted(labels, np.arange(count + 1)).tolist()
    numbers: dict[bytes, int] = {b"": 0}
    keys = (sources[start:end].tobytes() + targets[start:end].tobytes() for start, end in pairwise(starts))
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int32), len(numbers)


def _sorted(
    classes: Integers,
    count: int,
    sources: Integers,
    labels: Integers,
    targets: Integers,
    merged: Integers,
    accepting: NDArray[np.bool_],
) -> CompiledConstraint:
    """The automaton with its edges in order, one for each state and class."""
    keys, first = np.unique(sources.astype(np.int64) * count + merged[labels], return_index=True)
    from_state, by_class = np.divmod(keys, count)
    return CompiledConstraint(
        classes, count, from_state.astype(np.int32), by_class.astype(np.int32), targets[first], accepting
    )
