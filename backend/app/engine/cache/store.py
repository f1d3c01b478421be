"""Cached keys and values of one sequence, for a model that runs as modules.

A pass writes the keys and values that it computes into the cached tensors themselves, where attention reads them beside
the rest without a copy:

    cached, 8 tokens                      a b c d e f g h
    a pass computes [3, 5), two tokens          D E
    what its attention reads              a b c D E f g h
    the next one computes [3, 6)          a b c D E X f g h     three tokens now, and f g h stand one further right

Keys are cached before rotation too, so that they can stand elsewhere when a span has become longer or shorter.

What a pass that does not store has written is of use to that pass alone, and so is what a failed pass has left behind.
That span is *open* until a pass that stores it comes to its end. So a step that fails half-way leaves everything
outside the span that it computes as it was, and nobody reads what is inside: the next pass either computes all of the
open span anew, as the same step does when it is run again, or takes the sequence for one that is not cached.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor


class Rotation(Protocol):
    """A rotary embedding."""

    def angles(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """positions [T] -> what `rotate` takes."""
        ...

    def rotate(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """x [T, K, D], each token turned by its angles."""
        ...


class KeyValues:
    """Keys and values of one sequence, layer by layer: [T, K, D] each. One pass fills it, later ones write spans."""

    def __init__(self) -> None:
        self._keys: list[Tensor] = []
        self._rotated: list[Tensor] = []
        self._values: list[Tensor] = []
        self._open: tuple[int, int] | None = None
        """Tokens before the open span, and tokens behind it."""

    def __len__(self) -> int:
        """Number of tokens, once the store is filled."""
        return len(self._keys[0]) if self._keys else 0

    def fill(self, keys: Tensor, rotated: Tensor, values: Tensor) -> None:
        """Adds the next layer's. Copies, for a view would keep the whole batch."""
        for cached, new in ((self._keys, keys), (self._rotated, rotated), (self._values, values)):
            cached.append(new.clone())

    def holds(self, num_before: int, num_behind: int) -> bool:
        """Whether the first `num_before` tokens and the last `num_behind` can be read, because the open span, if there
        is one, lies between them."""
        return self._open is None or (num_before <= self._open[0] and num_behind <= self._open[1])

    def open(self, num_before: int, length: int, num_behind: int, rotation: Rotation) -> None:
        """Opens the span between the first `num_before` tokens and the last `num_behind`, for `length` tokens: the
        others are dropped or new, and the last ones move.

        Where memory runs out on the way nothing has changed.
        """
        if num_before + length + num_behind != len(self):
            self._keys, self._rotated, self._values = self._resized(num_before, length, num_behind, rotation)
        self._open = num_before, num_behind

    def _resized(
        self, num_before: int, length: int, num_behind: int, rotation: Rotation
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        total = num_before + length + num_behind
        angles = rotation.angles(torch.arange(total, device=self._keys[0].device))
        keys, values = (
            [_with_room(layer, num_before, length, num_behind) for layer in cached]
            for cached in (self._keys, self._values)
        )
        return keys, [rotation.rotate(layer, *angles) for layer in keys], values

    def write(self, layer: int, keys: Tensor, rotated: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Puts a layer's fresh keys and values into the open span; gives all rotated keys and all values of it."""
        assert self._open is not None, "a span is opened before it is written"
        start = self._open[0]
        for cached, new in ((self._keys, keys), (self._rotated, rotated), (self._values, values)):
            cached[layer][start : start + len(new)] = new
        return self._rotated[layer], self._values[layer]

    def close(self) -> None:
        """Makes what has been written into the open span part of what is cached."""
        self._open = None

    def layers(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Keys, rotated keys and values of each layer."""
        return zip(self._keys, self._rotated, self._values, strict=True)

    def copied(self, device: torch.device, dtype: torch.dtype) -> KeyValues:
        """Copies everything to another device; the copy shares nothing with this store."""
        copy = KeyValues()
        for layer in self.layers():
            copy.fill(*(x.to(device, dtype) for x in layer))
        copy._open = self._open
        return copy

    def check(self, name: str, num_layers: int) -> None:
        """Asserts that all layers hold keys and values of the same tokens."""
        lengths = {len(layer) for cached in (self._keys, self._rotated, self._values) for layer in cached}
        assert len(lengths) == 1, f"layers of {name} hold {sorted(lengths)} tokens"
        counts = {len(self._keys), len(self._rotated), len(self._values)}
        assert counts == {num_layers}, f"{name} has {sorted(counts)} layers of {num_layers}"


def _with_room(x: Tensor, num_before: int, length: int, num_behind: int) -> Tensor:
    """The first `num_before` tokens of x [T, …], zeros for `length` tokens, and the last `num_behind`."""
    return torch.cat((x[:num_before], x.new_zeros(length, *x.shape[1:]), x[len(x) - num_behind :]))
