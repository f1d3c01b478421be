"""Cached keys and values of one sequence that is finished from left to right, for a model that runs as modules.

A pass writes the keys and values that it computes behind what is cached, where attention reads all of them without a
copy. How much of that stays is said when the pass is over:

    cached, 4 tokens                     a b c d . . . .
    a pass computes [4, 8)               a b c d E F G H
    nothing of it is final: 4 stay       a b c d . . . .
    a pass computes [4, 12)              a b c d E F G H I J K L      there was no room for 12, so all was copied
    a block is final: 8 stay             a b c d E F G H . . . .

What is cached is never written again, so a pass that fails half-way has changed nothing that is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

_QUANTUM = 64
"""Room is made for a multiple of so many tokens."""


def room_for(num_tokens: int) -> int:
    """Gives the tokens that room is made for: an eighth more than there are, so that copies are rare. 100 tokens get
    room for 128, 1000 for 1152."""
    return -(-(num_tokens + num_tokens // 8) // _QUANTUM) * _QUANTUM


class GrowingKeyValues:
    """Rotated keys and values of the first tokens of a sequence, layer by layer: [room, K, D] each."""

    def __init__(self) -> None:
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []
        self._length = 0
        self._start = 0

    def __len__(self) -> int:
        """Number of tokens that are cached."""
        return self._length

    def open(self, start: int, length: int) -> None:
        """Makes room for a pass over `length` tokens behind the first `start`. Where memory runs out on the way nothing
        has changed."""
        assert start <= self._length, f"a pass begins at {start}, and {self._length} tokens are cached"
        if self._keys and start + length > len(self._keys[0]):
            room = room_for(start + length)
            keys, values = ([_grown(x, start, room) for x in cached] for cached in (self._keys, self._values))
            self._keys, self._values = keys, values
        self._start = start

    def write(self, layer: int, rotated: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Takes a layer's fresh rotated keys and values, [n, K, D] each; gives those of all tokens so far."""
        end = self._start + len(rotated)
        for cached, new in ((self._keys, rotated), (self._values, values)):
            if layer == len(cached):
                cached.append(new.new_zeros(room_for(end), *new.shape[1:]))
            cached[layer][self._start : end] = new
        return self._keys[layer][:end], self._values[layer][:end]

    def close(self, length: int) -> None:
        """Ends a pass: the first `length` tokens are cached from here on."""
        self._length = length

    def layers(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Rotated keys and values of each layer, [T, K, D], of the tokens that are cached."""
        for keys, values in zip(self._keys, self._values, strict=True):
            yield keys[: self._length], values[: self._length]

    @classmethod
    def of(cls, layers: Iterable[tuple[Tensor, Tensor]], device: torch.device, dtype: torch.dtype) -> GrowingKeyValues:
        """Copies rotated keys and values to a device; the store shares nothing with them."""
        store = cls()
        for layer, (keys, values) in enumerate(layers):
            store.write(layer, keys.to(device, dtype), values.to(device, dtype))
            store._length = len(keys)
        return store

    def check(self, name: str, num_layers: int) -> None:
        """Asserts that all layers have room for the same tokens."""
        rooms = {len(layer) for cached in (self._keys, self._values) for layer in cached}
        assert len(rooms) == 1, f"layers of {name} have room for {sorted(rooms)} tokens"
        assert self._length <= rooms.pop(), f"{name} has no room for its {self._length} tokens"
        counts = {len(self._keys), len(self._values)}
        assert counts == {num_layers}, f"{name} has {sorted(counts)} layers of {num_layers}"


def _grown(x: Tensor, length: int, room: int) -> Tensor:
    """The first `length` tokens of x [T, …], with room for `room`."""
    grown = torch.zeros(room, *x.shape[1:], dtype=x.dtype, device=x.device)
    grown[:length] = x[:length]
    return grown
