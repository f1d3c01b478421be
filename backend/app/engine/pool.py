"""Kept keys and values of all windowed sequences of a model that runs as graphs, in one array for each layer.

Pages of one token: a sequence is a list of slots in any order. So it grows or shrinks in its middle without moving a
key, and a batch of sequences needs no copy before the pass that reads them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

_MIN_SLOTS = 1024


class KeyPool:
    """Keys, not rotated, and values of a token in each slot; slot 0 holds zeros and is given to nobody."""

    def __init__(self, num_layers: int, num_heads: int, head_dim: int) -> None:
        self._shape = (2 * num_layers, num_heads, head_dim)
        self._slots: dict[str, Indices] = {}  # of each sequence, in its order
        self._free: list[int] = []
        self._num_slots = 0
        self._kept = self._zeros(0)

    def __contains__(self, name: object) -> bool:
        return name in self._slots

    @property
    def arrays(self) -> list[Floats]:
        """Keys of the first layer, its values, those of the next: [S · K, D] each."""
        num_arrays, _, head_dim = self._shape
        return list(self._kept.reshape(num_arrays, -1, head_dim))

    def make(self, name: str, num_tokens: int) -> Indices:
        """Slots for a new sequence, or one that is filled anew."""
        self.drop(name)
        self._slots[name] = self._take(num_tokens)
        return self._slots[name]

    def fit(self, name: str, start: int, end: int, num_behind: int) -> Indices:
        """Makes [start, end) of a sequence the window before its last `num_behind` tokens, whatever its length was."""
        slots = self._slots[name]
        surplus = len(slots) - num_behind - end
        if surplus > 0:
            self._free += slots[end : end + surplus].tolist()
            self._slots[name] = np.concatenate((slots[:end], slots[end + surplus :]))
        elif surplus < 0:
            old_end = len(slots) - num_behind
            self._slots[name] = np.concatenate((slots[:old_end], self._take(-surplus), slots[old_end:]))
        return self._slots[name]

    def write(self, slots: Indices, rows: Indices, fresh: Sequence[Floats]) -> None:
        """Those rows of fresh keys and values, [N, K·D] each, go into these slots."""
        for kept, new in zip(self._kept, fresh, strict=True):
            kept[slots] = new[rows].reshape(-1, *self._shape[1:])

    def drop(self, name: str) -> None:
        """Frees a sequence's slots, if it has any; memory goes back when nobody has."""
        self._free += self._slots.pop(name, np.array([], np.int64)).tolist()
        if not self._slots and self._num_slots > _MIN_SLOTS:
            self._free, self._num_slots, self._kept = [], 0, self._zeros(0)

    def _take(self, count: int) -> Indices:
        if len(self._free) < count:
            self._grow(max(2 * self._num_slots, self._num_slots + count, _MIN_SLOTS))
        taken = np.array(self._free[len(self._free) - count :], np.int64)
        del self._free[len(self._free) - count :]
        return taken

    def _grow(self, num_slots: int) -> None:
        kept = self._zeros(num_slots)
        kept[:, : self._num_slots + 1] = self._kept
        self._free += range(num_slots, self._num_slots, -1)
        self._kept, self._num_slots = kept, num_slots

    def _zeros(self, num_slots: int) -> Floats:
        num_arrays, *rest = self._shape
        return np.zeros((num_arrays, num_slots + 1, *rest), np.float32)
