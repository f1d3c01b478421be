"""The operations of a training pass in bfloat16 on a CPU, each with its gradient written out.

oneDNN compiles a kernel for every new shape of a bfloat16 product, which takes longer than the product of a short
sequence: so the products here have few shapes, by filling. And what lies between the products is computed in few steps
over memory. Norms and the loss are computed in float32.
Shapes: N tokens of all sequences, L of one and P of one with its filling; d width; H query heads, K key heads, D of a
head; R rows with a loss; V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

LENGTH_STEP = 32
"""Sequences attend as if their lengths were multiples of this."""
LOSS_ROWS = 256
"""The rows whose logits are in memory together."""


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
class Angles:
    """Cosines and sines [length, D / 2] of the rotary embedding, in bfloat16."""

    cos: Tensor
    sin: Tensor

    def scaled(self, factor: float) -> Angles:
        return Angles(self.cos * factor, self.sin * factor)

    def rotate(self, x: Tensor, out: Tensor, *, back: bool = False) -> None:
        """Writes x [heads, L, D] = (a, b) as (a cos - b sin, b cos + a sin), or turned back the same angles."""
        cos, sin = self.cos[: x.shape[1]], self.sin[: x.shape[1]]
        (a, b), (to_a, to_b) = x.chunk(2, -1), out.chunk(2, -1)
        sign = -1 if back else 1
        torch.mul(a, cos, out=to_a).addcmul_(b, sin, value=-sign)
        torch.mul(b, cos, out=to_b).addcmul_(a, sin, value=sign)


def norm(states: Tensor, weight: Tensor, eps: float) -> Tensor:
    """RMSNorm: states [N, d] in float32, weight [d] -> [N, d] in bfloat16."""
    return _apply(_Norm, states, weight, eps)


def gated(halves: Tensor) -> Tensor:
    """silu(gate) ⊙ up of both halves [N, 2m] -> [N, m]."""
    return _apply(_SwiGLU, halves)


def attention(packed: Tensor, lengths: Sequence[int], heads: Heads, angles: Angles) -> Tensor:
    """Bidirectional attention within each sequence: queries, keys and values [N, (H + 2K)·D], not rotated -> [N, H·D].

    Rows past the sequences give zeros. The queries of all heads that share a key head are one matrix.
    """
    return _apply(_Attention, packed, lengths, heads, angles)


def summed_cross_entropy(states: Tensor, head: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """The weighted sum of cross-entropies: states [R, d] and head [V, d] in bfloat16, targets [R], weights [R]."""
    return _apply(_Loss, states, head, targets, weights)


def _apply(operation: type[Function], *inputs: Any) -> Tensor:
    result: Tensor = operation.apply(*inputs)  # type: ignore[no-untyped-call]  # torch says no types here
    return result


class _Norm(Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, eps: float) -> Tensor:
        scale = torch.rsqrt(states.square().mean(-1, keepdim=True) + eps)
        normed = states * scale
        ctx.save_for_backward(normed, scale, weight)
        return torch.mul(normed, weight).bfloat16()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        [gradient] = gradients
        normed, scale, weight = ctx.saved_tensors
        products = gradient * normed
        means = (products @ weight[:, None]).div_(len(weight))
        of_states = torch.mul(gradient, weight).addcmul_(normed, means, value=-1).mul_(scale)
        return of_states, products.sum(0), None


class _SwiGLU(Function):
    @staticmethod
    def forward(ctx: Any, halves: Tensor) -> Tensor:
        ctx.save_for_backward(halves)
        gate, up = halves.chunk(2, -1)
        return F.silu(gate) * up

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        [gradient] = gradients
        [halves] = ctx.saved_tensors
        gate, up = halves.chunk(2, -1)
        result = torch.empty_like(halves)
        of_gate, of_up = result.chunk(2, -1)
        sigmoid = torch.sigmoid(gate)
        silu = sigmoid * gate
        torch.mul(gradient, silu, out=of_up)
        torch.mul(gradient, up, out=of_gate)
        of_gate.mul_(sigmoid + silu - silu * sigmoid)
        return (result,)


class _Attention(Function):
    @staticmethod
    def forward(ctx: Any, packed: Tensor, lengths: Sequence[int], heads: Heads, angles: Angles) -> Tensor:
        ctx.lengths, ctx.heads, ctx.angles = lengths, heads, angles
        x = packed.view(len(packed), -1, heads.size).transpose(0, 1)  # [H + 2K, N, D]
        result = packed.new_zeros(len(packed), heads.num_queries, heads.size)
        scaled = angles.scaled(heads.size**-0.5)
        saved, start = [], 0
        for length in lengths:
            filled = _rotated(x[:, start : start + length], heads, angles, scaled)
            q, k, v = _matrices(filled, heads)
            scores = torch.bmm(q, k.mT)  # [K, H/K · P, P]
            scores[:, :, length:] = float("-inf")
            shares = torch.softmax(scores, -1)
            attended = torch.bmm(shares, v).view(heads.num_queries, -1, heads.size)
            result[start : start + length].copy_(attended[:, :length].transpose(0, 1))
            saved += [filled, shares]
            start += length
        ctx.save_for_backward(*saved)
        return result.flatten(1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        heads, angles, saved = ctx.heads, ctx.angles, ctx.saved_tensors
        [gradient] = gradients
        given = gradient.view(len(gradient), -1, heads.size).transpose(0, 1)  # [H, N, D]
        result = gradient.new_zeros(len(gradient), heads.num_queries + 2 * heads.num_keys, heads.size)
        x, start, scaled = result.transpose(0, 1), 0, angles.scaled(heads.size**-0.5)
        for length, filled, shares in zip(ctx.lengths, saved[::2], saved[1::2], strict=True):
            own = _attention_gradient(given[:, start : start + length], filled, shares, heads)
            _turn_back(own, x[:, start : start + length], heads, angles, scaled)
            start += length
        return result.flatten(1), None, None, None


def _rotated(x: Tensor, heads: Heads, angles: Angles, scaled: Angles) -> Tensor:
    """The heads of one sequence [H + 2K, L, D], filled with zeros to [H + 2K, P, D]; queries are `scaled`."""
    length = x.shape[1]
    filled = x.new_zeros(len(x), filled_size(length, LENGTH_STEP), heads.size)
    inside = filled[:, :length]
    queries, keys, values = _split(x, heads)
    to_queries, to_keys, to_values = _split(inside, heads)
    scaled.rotate(queries, to_queries)
    angles.rotate(keys, to_keys)
    to_values.copy_(values)
    return filled


def _turn_back(own: Tensor, out: Tensor, heads: Heads, angles: Angles, scaled: Angles) -> None:
    """Writes the gradient of what `_rotated` was given: own [H + 2K, P, D], out [H + 2K, L, D]."""
    queries, keys, values = _split(own[:, : out.shape[1]], heads)
    to_queries, to_keys, to_values = _split(out, heads)
    scaled.rotate(queries, to_queries, back=True)
    angles.rotate(keys, to_keys, back=True)
    to_values.copy_(values)


def _attention_gradient(given: Tensor, filled: Tensor, shares: Tensor, heads: Heads) -> Tensor:
    """The gradient of `filled` [H + 2K, P, D] from that of the attended states [H, L, D]."""
    q, k, v = _matrices(filled, heads)
    of_attended = given.new_zeros(heads.num_queries, filled.shape[1], heads.size)
    of_attended[:, : given.shape[1]].copy_(given)
    of_attended = of_attended.view_as(q)
    of_scores = torch._softmax_backward_data(torch.bmm(of_attended, v.mT), shares, -1, shares.dtype)
    result = torch.empty_like(filled)
    of_q, of_k, of_v = _matrices(result, heads)
    torch.bmm(of_scores, k, out=of_q)
    torch.bmm(of_scores.mT, q, out=of_k)
    torch.bmm(shares.mT, of_attended, out=of_v)
    return result


def _split(x: Tensor, heads: Heads) -> Sequence[Tensor]:
    """The queries [H, …], keys [K, …] and values [K, …] of [H + 2K, …]."""
    return torch.split(x, [heads.num_queries, heads.num_keys, heads.num_keys])


def _matrices(filled: Tensor, heads: Heads) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values, with the queries of heads that share a key head in one matrix [K, H/K · P, D]."""
    queries, keys, values = _split(filled, heads)
    return queries.view(heads.num_keys, -1, heads.size), keys, values


class _Loss(Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, head: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        of_states, of_head = torch.empty_like(states), head.new_zeros(head.shape, dtype=torch.float32)
        total = torch.zeros(())
        for start in range(0, len(states), LOSS_ROWS):
            rows = slice(start, start + LOSS_ROWS)
            loss, of_logits = _row_losses(states[rows] @ head.T, targets[rows], weights[rows])
            total += loss
            torch.mm(of_logits, head, out=of_states[rows])
            of_head += of_logits.T @ states[rows]
        ctx.save_for_backward(of_states, of_head.bfloat16())
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        of_states, of_head = ctx.saved_tensors
        return of_states * gradients[0], of_head * gradients[0], None, None


def _row_losses(logits: Tensor, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """The weighted sum of cross-entropies of logits [R, V], and its gradient by the logits in bfloat16."""
    log_probs = torch.log_softmax(logits, -1, dtype=torch.float32)
    columns = targets[:, None]
    loss = -(log_probs.gather(1, columns)[:, 0] * weights).sum()
    probs = log_probs.exp_()
    probs.scatter_add_(1, columns, probs.new_full(columns.shape, -1))
    return loss, probs.mul_(weights[:, None]).bfloat16()
