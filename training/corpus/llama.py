"""A Llama that writes many texts at once on a CPU: dense weights, one cache of keys and values, no library.

The scales of the norms are multiplied into the matrices that follow them, and matrices that read the same vector are
one matrix, so that a step is four products a layer.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a Llama; the vocabulary's is the embedding's."""

    width: int
    layers: int
    heads: int
    kv_heads: int
    head_width: int
    rope_base: float = 10_000.0
    epsilon: float = 1e-5


@dataclass(frozen=True, slots=True)
class Layer:
    """The matrices of a layer, each `[outputs, inputs]`."""

    queries_keys_values: Tensor
    attention_output: Tensor
    gate_up: Tensor
    down: Tensor


@dataclass(frozen=True, slots=True)
class Weights:
    """The matrices of a network, norms multiplied in."""

    embedding: Tensor
    """The vectors of the tokens, `[vocabulary, width]`."""
    layers: tuple[Layer, ...]
    head: Tensor
    """The matrix that gives the logits, `[vocabulary, width]`."""


class Cache:
    """The keys and values of all rows, `[layers, rows, KV heads, length, head width]`, and what of them is padding."""

    def __init__(self, shape: Shape, rows: int, room: int, dtype: torch.dtype) -> None:
        size = (rows, shape.kv_heads, room, shape.head_width)
        self.keys = [torch.empty(size, dtype=dtype) for _ in range(shape.layers)]
        self.values = [torch.empty(size, dtype=dtype) for _ in range(shape.layers)]
        self.bias = torch.zeros((rows, 1, 1, room), dtype=dtype)
        self.length = 0

    def part(self, start: int, end: int) -> Cache:
        """The cache of some rows, sharing memory with this one."""
        part = copy(self)
        part.keys = [keys[start:end] for keys in self.keys]
        part.values = [values[start:end] for values in self.values]
        part.bias = self.bias[start:end]
        return part

    def keep(self, rows: Tensor) -> None:
        """Leaves only the given rows."""
        for tensors in (self.keys, self.values):
            for i, tensor in enumerate(tensors):
                tensors[i] = self._rows_of(tensor, rows)
        self.bias = self.bias[rows]

    def _rows_of(self, tensor: Tensor, rows: Tensor) -> Tensor:
        kept = torch.empty((len(rows), *tensor.shape[1:]), dtype=tensor.dtype)
        kept[:, :, : self.length] = tensor[:, :, : self.length].index_select(0, rows)
        return kept


class Llama:
    """Reads tokens after those in a cache and gives the logits of what comes next."""

    def __init__(self, shape: Shape, weights: Weights) -> None:
        self.shape = shape
        self.weights = weights
        self.dtype = weights.embedding.dtype

    def cache(self, rows: int, room: int) -> Cache:
        return Cache(self.shape, rows, room, self.dtype)

    def read(self, ids: Tensor, cache: Cache) -> Tensor:
        """The last states, `[rows, length, width]`, of tokens `[rows, length]` that follow those in the cache."""
        shape, start = self.shape, cache.length
        cosine, sine = self._rotation(start, start + ids.shape[1])
        cache.length += ids.shape[1]
        states = F.embedding(ids, self.weights.embedding)
        for i, layer in enumerate(self.weights.layers):
            mixed = F.linear(self._normed(states), layer.queries_keys_values)
            states = states + F.linear(self._attention(mixed, cosine, sine, i, cache), layer.attention_output)
            gate, up = F.linear(self._normed(states), layer.gate_up).chunk(2, -1)
            states = states + F.linear(F.silu(gate) * up, layer.down)
        return F.rms_norm(states, (shape.width,), eps=shape.epsilon)

    def logits(self, states: Tensor) -> Tensor:
        return F.linear(states, self.weights.head)

    def _normed(self, states: Tensor) -> Tensor:
        return F.rms_norm(states, (self.shape.width,), eps=self.shape.epsilon)

    def _rotation(self, start: int, end: int) -> tuple[Tensor, Tensor]:
        """Cosines and sines of positions `start` to `end`, `[positions, 1, head width / 2]`."""
        half = torch.arange(0, self.shape.head_width, 2) / self.shape.head_width
        angles = torch.arange(start, end)[:, None, None] / self.shape.rope_base**half
        return angles.cos().to(self.dtype), angles.sin().to(self.dtype)

    def _attention(self, mixed: Tensor, cosine: Tensor, sine: Tensor, layer: int, cache: Cache) -> Tensor:
        """The attended values, `[rows, length, width]`; the heads that share keys are one group."""
        shape = self.shape
        rows, length = mixed.shape[:2]
        vectors = mixed.view(rows, length, -1, shape.head_width)
        turned = _rotated(vectors[:, :, : -shape.kv_heads], cosine, sine)
        queries, keys, values = (
            turned[:, :, : shape.heads],
            turned[:, :, shape.heads :],
            vectors[:, :, -shape.kv_heads :],
        )
        start, end = cache.length - length, cache.length
        cache.keys[layer][:, :, start:end] = keys.transpose(1, 2)
        cache.values[layer][:, :, start:end] = values.transpose(1, 2)
        attend = self._attend_one if length == 1 else self._attend_many
        return attend(queries, cache.keys[layer][:, :, :end], cache.values[layer][:, :, :end], cache)

    def _attend_one(self, queries: Tensor, keys: Tensor, values: Tensor, cache: Cache) -> Tensor:
        """The attention of one new token a row: the heads that share keys are the queries of one head, which reads the
        keys once and where they lie."""
        shape, rows = self.shape, queries.shape[0]
        grouped = queries.reshape(rows, shape.kv_heads, -1, shape.head_width)
        bias = cache.bias[..., : cache.length]
        return F.scaled_dot_product_attention(grouped, keys, values, bias).reshape(rows, 1, -1)

    def _attend_many(self, queries: Tensor, keys: Tensor, values: Tensor, cache: Cache) -> Tensor:
        rows, length = queries.shape[:2]
        causal = torch.ones(length, cache.length, dtype=torch.bool).tril(cache.length - length)
        bias = cache.bias[..., : cache.length].masked_fill(~causal, -1e4)
        attended = F.scaled_dot_product_attention(queries.transpose(1, 2), keys, values, bias, enable_gqa=True)
        return attended.transpose(1, 2).reshape(rows, length, -1)


def _rotated(vectors: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """The vectors turned by their positions' angles; the two halves of a vector are the two coordinates."""
    first, second = vectors.chunk(2, -1)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], -1)
