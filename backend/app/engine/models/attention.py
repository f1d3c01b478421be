"""Attention of one packed pass, with what is kept of earlier passes where a sequence asks for that.

A bidirectional model has no exact cache: every commit changes every key. Approximate ones keep the keys and values of
the text around a window and compute the window alone (Fast-dLLM, arXiv 2505.22618, section 3.2). Keys are kept before
rotation too, so that they can stand elsewhere when a window has become longer or shorter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from app.engine.models.layers import Rotary, attend, attend_across


class KeyValues:
    """Keys and values of one sequence, layer by layer: [T, K, D] each. One pass fills it, later ones renew windows."""

    def __init__(self) -> None:
        self._keys: list[Tensor] = []
        self._rotated: list[Tensor] = []
        self._values: list[Tensor] = []

    def __len__(self) -> int:
        """Tokens, once it is filled."""
        return len(self._keys[0]) if self._keys else 0

    def fill(self, keys: Tensor, rotated: Tensor, values: Tensor) -> None:
        """Keeps the next layer's. Copies, for a view would keep the whole batch."""
        for kept, new in ((self._keys, keys), (self._rotated, rotated), (self._values, values)):
            kept.append(new.clone())

    def resize(self, start: int, length: int, num_behind: int, rotary: Rotary) -> None:
        """Makes a window of `length` tokens at `start`, whatever its length was; what is behind it moves.

        All layers change, or none does where memory runs out on the way.
        """
        total = start + length + num_behind
        if total == len(self):
            return
        angles = rotary.angles(torch.arange(total, device=self._keys[0].device))
        keys, values = (
            [_with_room(layer, start, length, num_behind) for layer in kept] for kept in (self._keys, self._values)
        )
        rotated = [Rotary.rotate(layer, *angles) for layer in keys]
        self._keys, self._values, self._rotated = keys, values, rotated

    def layers(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Keys, rotated keys and values of each layer."""
        return zip(self._keys, self._rotated, self._values, strict=True)

    def copied(self, device: torch.device, dtype: torch.dtype) -> KeyValues:
        """The same on another device; shares nothing with this one."""
        copy = KeyValues()
        for layer in self.layers():
            copy.fill(*(x.to(device, dtype) for x in layer))
        return copy

    def check(self, name: str, num_layers: int) -> None:
        """Asserts that all layers hold keys and values of the same tokens."""
        lengths = {len(layer) for kept in (self._keys, self._rotated, self._values) for layer in kept}
        assert len(lengths) == 1, f"layers of {name} hold {sorted(lengths)} tokens"
        counts = {len(self._keys), len(self._rotated), len(self._values)}
        assert counts == {num_layers}, f"{name} has {sorted(counts)} layers of {num_layers}"

    def renew(self, layer: int, start: int, keys: Tensor, rotated: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Puts a layer's fresh ones into a window; gives all rotated keys and all values of that layer."""
        for kept, new in ((self._keys, keys), (self._rotated, rotated), (self._values, values)):
            kept[layer][start : start + len(new)] = new
        return self._rotated[layer], self._values[layer]


def _with_room(x: Tensor, start: int, length: int, num_behind: int) -> Tensor:
    return torch.cat((x[:start], x.new_zeros(length, *x.shape[1:]), x[len(x) - num_behind :]))


@dataclass(frozen=True, slots=True)
class Kept:
    """What a sequence of the pass does with its keys and values."""

    store: KeyValues
    start: int = 0
    """Position of its first token in the batch."""
    num_behind: int = 0
    """Tokens of the sequence behind its last one in the batch."""
    fills: bool = False
    """All tokens are in the batch, and the store, which is empty, is filled with theirs."""


@dataclass(frozen=True, slots=True)
class Revisable:
    """The last tokens of the sequence in the pass are no part of it: each sees the sequence, but not the position that
    stands here, and itself. Nothing sees them."""

    positions: Sequence[int]


Extra = Kept | Revisable
"""What a sequence wants beside attention to all of itself."""


class PackedAttention:
    """Called by one layer after the other, each with its queries, keys and values.

    Args:
        positions: [N], each counted within its sequence.
        lengths: tokens of each sequence that are in the batch.
        extras: for each sequence what it wants beside attention to itself, or `None`; empty where none wants anything.
    """

    def __init__(
        self, rotary: Rotary, positions: Tensor, lengths: Sequence[int], extras: Sequence[Extra | None] = ()
    ) -> None:
        self._angles = rotary.angles(positions)
        self._lengths = lengths
        self._extras = extras if any(extras) else ()
        self._layer = -1
        for part, length in zip(self._extras, lengths, strict=False):
            if isinstance(part, Kept) and not part.fills:
                part.store.resize(part.start, length, part.num_behind, rotary)

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q [N, H, D], k and v [N, K, D], not rotated -> [N, H·D]."""
        self._layer += 1
        rotated_q, rotated_k = Rotary.rotate(q, *self._angles), Rotary.rotate(k, *self._angles)
        if not self._extras:
            return attend(rotated_q, rotated_k, v, self._lengths)
        num_filling = q.shape[0] - sum(self._lengths)
        if len(self._extras) == 1 and not num_filling:  # a single window: small enough for every call to count
            return self._one(self._extras[0], rotated_q, k, rotated_k, v)
        split = [torch.split(x, [*self._lengths, num_filling]) for x in (rotated_q, k, rotated_k, v)]
        pieces = [self._one(part, *(x[index] for x in split)) for index, part in enumerate(self._extras)]
        return torch.cat([*pieces, q.new_zeros(num_filling, q[0].numel())])

    def _one(self, extra: Extra | None, q: Tensor, k: Tensor, rotated_k: Tensor, v: Tensor) -> Tensor:
        if isinstance(extra, Revisable):
            return _attend_to_revisable(q, rotated_k, v, extra.positions)
        if extra is not None and not extra.fills:
            return attend_across(q, *extra.store.renew(self._layer, extra.start, k, rotated_k, v))
        if extra is not None:
            extra.store.fill(k, rotated_k, v)
        return attend(q, rotated_k, v, [len(q)])


def _attend_to_revisable(q: Tensor, k: Tensor, v: Tensor, revisable: Sequence[int]) -> Tensor:
    length = len(q) - len(revisable)
    seen = torch.ones(len(revisable), len(q), dtype=torch.bool, device=q.device)
    seen[:, length:] = torch.eye(len(revisable), dtype=torch.bool, device=q.device)
    seen[range(len(revisable)), list(revisable)] = False
    sequence = attend(q[:length], k[:length], v[:length], [length])
    return torch.cat((sequence, attend_across(q[length:], k, v, seen)))
