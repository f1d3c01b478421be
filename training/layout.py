"""Fills the sequences of a batch and puts them together, so that their attention is few products of few shapes.

Shapes: N tokens of all sequences, T with the filling of each; S sequences of one filled length P; H query heads, K key
heads, D of a head.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

LENGTH_STEP = 32
"""Sequences attend as if their lengths were multiples of this."""


def filled_size(size: int, step: int) -> int:
    """The next multiple of `step`."""
    return -(-size // step) * step


@dataclass(frozen=True, slots=True)
class Heads:
    """The numbers of heads, and their size."""

    num_queries: int
    num_keys: int
    size: int


@dataclass(frozen=True, slots=True)
class Group:
    """Sequences of one filled length, whose heads are multiplied together."""

    first: int
    """The tokens of the groups before, with their filling."""
    num_sequences: int
    filled_length: int
    bias: Tensor
    """The summand of the scores: -inf at keys past a sequence's end, [S, 1, P]."""

    def of(self, filled: Tensor, num_heads: int) -> Tensor:
        """This group's part of all groups' heads [T · heads, D] -> [S, heads, P, D]."""
        size = self.num_sequences * self.filled_length
        part = filled[self.first * num_heads : (self.first + size) * num_heads]
        return part.view(self.num_sequences, num_heads, self.filled_length, part.shape[-1])


@dataclass(frozen=True, slots=True)
class Places:
    """The way of the rows of some heads from the tokens into the groups, and back."""

    to_groups: Tensor
    """The row among the tokens of each of the T · heads rows of the groups; filling has rows from N · heads on."""
    to_tokens: Tensor
    """The row among the groups of each of the N · heads rows of the tokens; T · heads for tokens of no sequence."""

    @classmethod
    def of(cls, tokens: Sequence[Tensor], num_tokens: int, num_heads: int) -> Places:
        """The places where `tokens` are the groups' tokens [S, P], with `num_tokens` for filling."""
        heads = torch.arange(num_heads)[:, None]
        to_groups = torch.cat([(own[:, None] * num_heads + heads).flatten() for own in tokens])
        to_tokens = torch.full(((num_tokens + 1) * num_heads,), len(to_groups))
        to_tokens[to_groups] = torch.arange(len(to_groups))
        return cls(to_groups, to_tokens[: num_tokens * num_heads])

    def grouped(self, x: Tensor) -> Tensor:
        """Heads of tokens [N, heads, D] -> [T · heads, D], zero in filling."""
        return F.pad(x.flatten(0, 1), (0, 0, 0, x.shape[1])).index_select(0, self.to_groups)

    def empty(self, x: Tensor) -> Tensor:
        """Memory for heads of the groups, of the type and the head size of x: [T · heads + 1, D], the last row zero."""
        result = x.new_empty(len(self.to_groups) + 1, x.shape[-1])
        result[-1] = 0
        return result

    def tokens(self, grouped: Tensor, num_heads: int) -> Tensor:
        """Heads of the groups, in memory by `empty` -> of the tokens [N, heads, D], zero for tokens of no sequence."""
        return grouped.index_select(0, self.to_tokens).view(-1, num_heads, grouped.shape[-1])


@dataclass(frozen=True, slots=True)
class Layout:
    """The groups in which sequences attend together: each of one filled length and a power of two of sequences."""

    groups: Sequence[Group]
    queries: Places
    keys: Places

    @classmethod
    def of(cls, lengths: Sequence[int], num_tokens: int, heads: Heads) -> Layout:
        """The layout of sequences that stand one after the other, in the order of their lengths."""
        ends = torch.tensor(lengths).cumsum(0).tolist()
        groups, tokens, first = [], [], 0
        for filled_length, members in _groups(lengths):
            own = torch.full((len(members), filled_length), num_tokens)
            for row, i in zip(own, members, strict=True):
                row[: lengths[i]] = torch.arange(ends[i] - lengths[i], ends[i])
            bias = torch.where(own == num_tokens, float("-inf"), 0.0).bfloat16()[:, None]
            groups.append(Group(first, len(members), filled_length, bias))
            tokens.append(own)
            first += own.numel()
        queries, keys = (Places.of(tokens, num_tokens, n) for n in (heads.num_queries, heads.num_keys))
        return cls(groups, queries, keys)


def _groups(lengths: Sequence[int]) -> Iterator[tuple[int, Sequence[int]]]:
    """The filled length and the sequences of each group."""
    by_length: dict[int, list[int]] = {}
    for i, length in enumerate(lengths):
        by_length.setdefault(filled_size(length, LENGTH_STEP), []).append(i)
    for filled_length, members in by_length.items():
        while members:
            size = 1 << (len(members).bit_length() - 1)
            yield filled_length, members[:size]
            members = members[size:]
