"""Attention of one packed pass, with what is kept of earlier passes where a sequence asks for that.

A bidirectional model has no exact cache: every commit changes every key. Approximate ones keep the keys and values of
the text around a window and compute the window alone (Fast-dLLM, arXiv 2505.22618, section 3.2). Keys are kept before
rotation, so that they can stand elsewhere when a window has become longer or shorter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from app.engine.models.layers import Rotary, attend, attend_across


@dataclass(slots=True)
class KeyValues:
    """Keys before rotation and values of one sequence, layer by layer: [T, K, D] each."""

    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)

    def __len__(self) -> int:
        """Tokens."""
        return len(self.keys[0]) if self.keys else 0

    def put(self, keys: Tensor, values: Tensor) -> None:
        """Keeps a layer's. Copies, for a view would keep the whole batch."""
        self.keys.append(keys.clone())
        self.values.append(values.clone())

    def around(self, layer: int, window: Kept, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """A layer's of the whole sequence: fresh ones inside the window, kept ones before and behind it."""
        whole = []
        for old, new in ((self.keys[layer], keys), (self.values[layer], values)):
            whole.append(torch.cat((old[: window.start], new, old[len(old) - window.num_behind :])))
        return whole[0], whole[1]


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


class PackedAttention:
    """Called by one layer after the other, each with its queries, keys and values.

    Args:
        positions: [N], each counted within its sequence.
        lengths: tokens of each sequence that are in the batch.
        kept: for each sequence what it keeps, or `None`; empty where no sequence keeps anything.
    """

    def __init__(
        self, rotary: Rotary, positions: Tensor, lengths: Sequence[int], kept: Sequence[Kept | None] = ()
    ) -> None:
        self._rotary = rotary
        self._angles = rotary.angles(positions)
        self._lengths = lengths
        self._kept = kept if any(kept) else ()
        self._whole_angles = [self._angles_across(part, lengths[index]) for index, part in enumerate(self._kept)]
        self._layer = -1

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q [N, H, D], k and v [N, K, D], not rotated -> [N, H·D]."""
        self._layer += 1
        rotated = Rotary.rotate(q, *self._angles), Rotary.rotate(k, *self._angles)
        if not self._kept:
            return attend(*rotated, v, self._lengths)
        num_filling = len(q) - sum(self._lengths)
        split = [torch.split(x, [*self._lengths, num_filling]) for x in (*rotated, k, v)]
        pieces = [self._one(index, *(part[index] for part in split)) for index in range(len(self._lengths))]
        return torch.cat([*pieces, q.new_zeros(num_filling, q[0].numel())])

    def _one(self, index: int, q: Tensor, rotated_k: Tensor, k: Tensor, v: Tensor) -> Tensor:
        kept, angles = self._kept[index], self._whole_angles[index]
        if kept is not None and kept.fills:
            kept.store.put(k, v)
        if kept is None or angles is None:
            return attend(q, rotated_k, v, [len(q)])
        keys, values = kept.store.around(self._layer, kept, k, v)
        return attend_across(q, Rotary.rotate(keys, *angles), values)

    def _angles_across(self, kept: Kept | None, length: int) -> tuple[Tensor, Tensor] | None:
        """Of the whole sequence, where a part of it is in the batch."""
        if kept is None or kept.fills:
            return None
        total = kept.start + length + kept.num_behind
        return self._rotary.angles(torch.arange(total, device=self._angles[0].device))
