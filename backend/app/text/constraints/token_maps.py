"""Tokens as maps from states to states of an automaton over bytes, without a look at each token.

The map of a token is that of its first bytes, followed by its last byte, and few of these maps differ: a letter in the
middle of a string does the same as any other. So the tree of the vocabulary's prefixes is gone through by levels:
prefixes with equal maps form a class, and only pairs of (class, byte class) that are new are composed. A map is cached
as its live entries.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from app.text.constraints.dfa import Dfa
from app.text.constraints.limits import Budget, check_size
from app.text.constraints.vocabulary import Vocabulary

Integers = NDArray[np.int32]

CHUNK = 2_000_000
"""Entries that are composed at once: bounds the memory in between."""


@dataclass
class Maps:
    """Distinct maps, numbered as they are found; map 0 leads nowhere.

    sources[i]  states in which map i is alive, ascending
    targets[i]  states that these lead to
    """

    sources: list[Integers] = field(default_factory=list)
    targets: list[Integers] = field(default_factory=list)
    numbers: dict[bytes, int] = field(default_factory=dict)

    def number(self, sources: Integers, targets: Integers) -> int:
        """The number of a map, which is remembered where it is new."""
        key = sources.tobytes() + targets.tobytes()
        found = self.numbers.setdefault(key, len(self.sources))
        if found == len(self.sources):
            entries = np.frombuffer(key, np.int32)
            self.sources.append(entries[: len(sources)])
            self.targets.append(entries[len(sources) :])
        return found


def maps_of_tokens(dfa: Dfa, vocabulary: Vocabulary, budget: Budget) -> tuple[NDArray[np.int64], Maps]:
    """The map of each token id, and the maps."""
    maps = Maps()
    nowhere = np.empty(0, np.int32)
    states = np.arange(dfa.states, dtype=np.int32)
    maps.number(nowhere, nowhere)
    before = np.array([maps.number(states, states)])
    of_token = np.zeros(vocabulary.size, np.int64)
    known: dict[int, int] = {}
    for level in vocabulary.levels:
        if not before.any():
            break
        keys = before[level.parents] * dfa.table.shape[1] + dfa.byte_class[level.last]
        before = _maps_of_keys(np.where(before[level.parents] > 0, keys, -1), known, dfa, maps, budget)
        of_token[level.tokens] = before[level.ends]
    return of_token, maps


def _maps_of_keys(
    keys: NDArray[np.int64], known: dict[int, int], dfa: Dfa, maps: Maps, budget: Budget
) -> NDArray[np.int64]:
    """The map of each key (map of the bytes before, times classes, plus the byte class); key -1 leads nowhere."""
    known[-1] = 0
    distinct, inverse = np.unique(keys, return_inverse=True)
    new = [key for key in distinct.tolist() if key not in known]
    for chunk in _chunks(new, dfa.table.shape[1], maps):
        _compose(chunk, known, dfa, maps)
        check_size("memory for its tokens", sum(map(len, maps.sources)), budget.limits.map_cells)
        budget.check_time()
    return np.array([known[key] for key in distinct.tolist()])[inverse]


def _chunks(keys: list[int], classes: int, maps: Maps) -> Iterator[list[int]]:
    """The keys, in parts whose maps have a bounded number of entries."""
    part: list[int] = []
    size = 0
    for key in keys:
        part.append(key)
        size += len(maps.sources[key // classes])
        if size >= CHUNK:
            yield part
            part, size = [], 0
    if part:
        yield part


def _compose(keys: list[int], known: dict[int, int], dfa: Dfa, maps: Maps) -> None:
    """Follows maps by one byte each.

    Maps with 2 and 3 live entries are joined to 5; where entries 1 and 2 die, the parts behind have 1 and 2.
    """
    firsts, lasts = np.divmod(np.array(keys), dfa.table.shape[1])
    lengths = [len(maps.sources[number]) for number in firsts.tolist()]
    sources = np.concatenate([maps.sources[number] for number in firsts.tolist()])
    targets = np.concatenate([maps.targets[number] for number in firsts.tolist()])
    targets = dfa.table[targets, np.repeat(lasts, lengths)]
    alive = targets != dfa.states
    ends = np.append(0, np.cumsum(alive))[np.cumsum(lengths)].tolist()
    sources, targets = sources[alive], targets[alive]
    start = 0
    for key, end in zip(keys, ends, strict=True):
        known[key] = maps.number(sources[start:end], targets[start:end])
        start = end
