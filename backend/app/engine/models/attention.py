"""Attention of one packed pass, in which each sequence may attend in a way of its own.

A sequence whose keys and values are cached fills its store (`cache/store.py`) or reads it; one whose commits are looked
at again has a token for each of them beside it; in one of blocks a token sees nothing to the right of its block. All
others attend to all of themselves.
Shapes: N tokens of the pass, n of one sequence in it, T of the whole sequence; H query heads, K key heads, D.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from app.engine.cache.growing import GrowingKeyValues
from app.engine.cache.store import KeyValues
from app.engine.models.layers import Rotary, attend, attend_across


class AttentionVariant(Protocol):
    """One way for a sequence to attend, layer by layer."""

    def attend(self, layer: int, q: Tensor, k: Tensor, rotated_k: Tensor, v: Tensor) -> Tensor:
        """q [n, H, D], rotated; k, the same rotated, and v [n, K, D] -> [n, H·D]."""
        ...


@dataclass(frozen=True, slots=True)
class FillsCache:
    """Attends to all of itself, and fills an empty store with its keys and values."""

    store: KeyValues

    def attend(self, layer: int, q: Tensor, k: Tensor, rotated_k: Tensor, v: Tensor) -> Tensor:
        """See `AttentionVariant.attend`."""
        self.store.fill(k, rotated_k, v)
        return attend(q, rotated_k, v, [len(q)])


@dataclass(frozen=True, slots=True)
class ReadsCache:
    """The tokens of the store's open span attend to themselves and to all that is cached around them."""

    store: KeyValues

    def attend(self, layer: int, q: Tensor, k: Tensor, rotated_k: Tensor, v: Tensor) -> Tensor:
        """See `AttentionVariant.attend`."""
        return attend_across(q, *self.store.write(layer, k, rotated_k, v))


@dataclass(frozen=True, slots=True)
class Revisable:
    """The last tokens of the sequence in the pass are no part of it: each sees the sequence, but not the position that
    stands here, and itself. Nothing sees them. A sequence of 3 tokens, with positions 0 and 2 looked at again:

        query   sees 0 1 2 . .
        0            x x x
        1            x x x
        2            x x x
        3 (at 0)       x x x
        4 (at 2)     x x     x
    """

    positions: Sequence[int]

    def attend(self, layer: int, q: Tensor, k: Tensor, rotated_k: Tensor, v: Tensor) -> Tensor:
        """See `AttentionVariant.attend`."""
        count = len(self.positions)
        length = len(q) - count
        seen = torch.ones(count, len(q), dtype=torch.bool, device=q.device)
        seen[:, length:] = torch.eye(count, dtype=torch.bool, device=q.device)
        seen[range(count), list(self.positions)] = False
        sequence = attend(q[:length], rotated_k[:length], v[:length], [length])
        return torch.cat((sequence, attend_across(q[length:], rotated_k, v, seen)))


_MAX_CHUNK = 512
"""Queries whose mask is made together: a long prompt has the square of its tokens in pairs."""


@dataclass(frozen=True)
class BlockCausal:
    """Each token sees its own block and all before it. Blocks lie on absolute positions. Those of 2, tokens 2 to 5 in
    the pass, and 2 in the store:

        query   sees 0 1 2 3 4 5
        2            r r x x
        3            r r x x        x fresh   r read from the store
        4            r r x x x x
        5            r r x x x x
    """

    start: int
    """Position of the first token in the pass."""
    num_tokens: int
    block_length: int
    device: torch.device
    store: GrowingKeyValues | None = None
    """Holds the tokens before the first one, and takes those of the pass; `None`: there are none before."""

    def attend(self, layer: int, q: Tensor, k: Tensor, rotated_k: Tensor, v: Tensor) -> Tensor:
        """See `AttentionVariant.attend`."""
        keys, values = (rotated_k, v) if self.store is None else self.store.write(layer, rotated_k, v)
        pieces = [
            attend_across(q[low - self.start : high - self.start], keys[:high], values[:high], seen)
            for low, high, seen in self._chunks
        ]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    @cached_property
    def _chunks(self) -> list[tuple[int, int, Tensor | None]]:
        """Positions [low, high) whose queries attend together, and what each sees of [0, high); `None`: all of it."""
        size = max(_MAX_CHUNK // self.block_length, 1) * self.block_length
        end = self.start + self.num_tokens
        first = self.start - self.start % self.block_length  # chunks end where blocks end
        lows = [max(low, self.start) for low in range(first, end, size)]
        return [(low, high, self._seen(low, high)) for low, high in zip(lows, [*lows[1:], end], strict=True)]

    def _seen(self, low: int, high: int) -> Tensor | None:
        """[high - low, high]: whether the query sees the key."""
        if low // self.block_length == (high - 1) // self.block_length:
            return None
        blocks = torch.arange(high, device=self.device) // self.block_length
        return blocks[low:, None] >= blocks


class PackedAttention:
    """Called by one layer after the other, each with its queries, keys and values.

    Args:
        positions: [N], each counted within its sequence.
        lengths: tokens of each sequence that are in the batch.
        variants: how each sequence attends; `None`: to all of itself. Empty where all do.
    """

    def __init__(
        self,
        rotary: Rotary,
        positions: Tensor,
        lengths: Sequence[int],
        variants: Sequence[AttentionVariant | None] = (),
    ) -> None:
        self._angles = rotary.angles(positions)
        self._lengths = lengths
        self._variants = variants if any(variants) else ()
        self._layer = -1

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q [N, H, D], k and v [N, K, D], not rotated -> [N, H·D]."""
        self._layer += 1
        rotated_q, rotated_k = Rotary.rotate(q, *self._angles), Rotary.rotate(k, *self._angles)
        if not self._variants:
            return attend(rotated_q, rotated_k, v, self._lengths)
        num_filling = q.shape[0] - sum(self._lengths)
        if len(self._variants) == 1 and not num_filling:  # a single span: small enough for every call to count
            return self._attend(self._variants[0], rotated_q, k, rotated_k, v)
        split = [torch.split(x, [*self._lengths, num_filling]) for x in (rotated_q, k, rotated_k, v)]
        pieces = [self._attend(variant, *(x[index] for x in split)) for index, variant in enumerate(self._variants)]
        return torch.cat([*pieces, q.new_zeros(num_filling, q[0].numel())])

    def _attend(self, variant: AttentionVariant | None, q: Tensor, k: Tensor, rotated_k: Tensor, v: Tensor) -> Tensor:
        if variant is None:
            return attend(q, rotated_k, v, [len(q)])
        return variant.attend(self._layer, q, k, rotated_k, v)
