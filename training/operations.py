"""The operations of a training pass in bfloat16 on a CPU, each with its gradient written out.

oneDNN compiles a kernel for every new shape of a bfloat16 product, which takes longer than the product of a short
sequence: so the products here have few shapes, by filling (`layout.py`). And what lies between the products is computed
in few steps over memory. Norms and the loss are computed in float32.
Shapes: N tokens of all sequences, T with the filling of each; S sequences of one filled length P; d width; H query
heads, K key heads, D of a head; R rows with a loss; V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from training.layout import Group, Heads, Layout

LOSS_ROWS = 256
"""The rows whose logits are in memory together."""


@dataclass(frozen=True, slots=True)
class Angles:
    """Cosines and sines [N, 1, D / 2] of the rotary embedding, in bfloat16."""

    cos: Tensor
    sin: Tensor

    def scaled(self, factor: float) -> Angles:
        return Angles(self.cos * factor, self.sin * factor)

    def rotate(self, x: Tensor, out: Tensor, *, back: bool = False) -> None:
        """Writes x [N, heads, D] = (a, b) as (a cos - b sin, b cos + a sin), or turned back the same angles."""
        (a, b), (to_a, to_b) = x.chunk(2, -1), out.chunk(2, -1)
        sign = -1 if back else 1
        torch.mul(a, self.cos, out=to_a).addcmul_(b, self.sin, value=-sign)
        torch.mul(b, self.cos, out=to_b).addcmul_(a, self.sin, value=sign)


def norm(states: Tensor, weight: Tensor, eps: float) -> Tensor:
    """RMSNorm: states [N, d] in float32, weight [d] -> [N, d] in bfloat16."""
    return _apply(_Norm, states, weight, eps)


def gated(halves: Tensor) -> Tensor:
    """silu(gate) ⊙ up of both halves [N, 2m] -> [N, m]."""
    return _apply(_SwiGLU, halves)


def attention(packed: Tensor, layout: Layout, heads: Heads, angles: Angles) -> Tensor:
    """Bidirectional attention within each sequence: queries, keys and values [N, (H + 2K)·D], not rotated -> [N, H·D].

    Rows past the sequences give zeros. The queries of all heads that share a key head are one matrix.
    """
    return _apply(_Attention, packed, layout, heads, angles)


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
        gate, up = halves.chunk(2, -1)
        silu = F.silu(gate)
        ctx.save_for_backward(halves, silu)
        return silu * up

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        [gradient] = gradients
        halves, silu = ctx.saved_tensors
        gate, up = halves.chunk(2, -1)
        result = torch.empty_like(halves)
        of_gate, of_up = result.chunk(2, -1)
        torch.mul(gradient, silu, out=of_up)
        torch.ops.aten.silu_backward.grad_input(gradient * up, gate, grad_input=of_gate)
        return (result,)


class _Attention(Function):
    @staticmethod
    def forward(ctx: Any, packed: Tensor, layout: Layout, heads: Heads, angles: Angles) -> Tensor:
        ctx.layout, ctx.heads, ctx.angles = layout, heads, angles
        q, k, v = _split(packed.view(len(packed), -1, heads.size), heads)
        rotated_q, rotated_k = torch.empty_like(q), torch.empty_like(k)
        angles.scaled(heads.size**-0.5).rotate(q, rotated_q)
        angles.rotate(k, rotated_k)
        grouped = layout.queries.grouped(rotated_q), layout.keys.grouped(rotated_k), layout.keys.grouped(v)
        attended, all_shares = layout.queries.empty(q), []
        for group in layout.groups:
            q, k, v = _matrices(group, grouped, heads)
            scores = torch.bmm(q, k.mT)  # [S · K, H/K · P, P]
            scores.view(group.num_sequences, -1, group.filled_length).add_(group.bias)
            shares = torch.softmax(scores, -1)
            torch.bmm(shares, v, out=group.of(attended, heads.num_queries).view_as(q))
            all_shares.append(shares)
        ctx.save_for_backward(*grouped, *all_shares)
        return layout.queries.tokens(attended, heads.num_queries).flatten(1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        layout, heads, angles = ctx.layout, ctx.heads, ctx.angles
        grouped, all_shares = ctx.saved_tensors[:3], ctx.saved_tensors[3:]
        [gradient] = gradients
        of_attended = layout.queries.grouped(gradient.view(len(gradient), -1, heads.size))
        of_grouped = [places.empty(of_attended) for places in (layout.queries, layout.keys, layout.keys)]
        for group, shares in zip(layout.groups, all_shares, strict=True):
            q, k, v = _matrices(group, grouped, heads)
            of_q, of_k, of_v = _matrices(group, of_grouped, heads)
            given = group.of(of_attended, heads.num_queries).view_as(q)
            of_scores = torch._softmax_backward_data(torch.bmm(given, v.mT), shares, -1, shares.dtype)
            torch.bmm(of_scores, k, out=of_q)
            torch.bmm(of_scores.mT, q, out=of_k)
            torch.bmm(shares.mT, given, out=of_v)
        result = gradient.new_empty(len(gradient), heads.num_queries + 2 * heads.num_keys, heads.size)
        to_q, to_k, to_v = _split(result, heads)
        of_q, of_k, of_v = of_grouped
        angles.scaled(heads.size**-0.5).rotate(layout.queries.tokens(of_q, heads.num_queries), to_q, back=True)
        angles.rotate(layout.keys.tokens(of_k, heads.num_keys), to_k, back=True)
        to_v.copy_(layout.keys.tokens(of_v, heads.num_keys))
        return result.flatten(1), None, None, None


def _split(x: Tensor, heads: Heads) -> Sequence[Tensor]:
    """The queries [N, H, D], keys [N, K, D] and values [N, K, D] of [N, H + 2K, D]."""
    return torch.split(x, [heads.num_queries, heads.num_keys, heads.num_keys], dim=1)


def _matrices(group: Group, grouped: Sequence[Tensor], heads: Heads) -> tuple[Tensor, Tensor, Tensor]:
    """A group's queries, keys and values; those queries whose heads share a key head are one matrix [S·K, H/K·P, D]."""
    queries, keys, values = grouped
    k, v = (group.of(x, heads.num_keys).flatten(0, 1) for x in (keys, values))
    return group.of(queries, heads.num_queries).view(len(k), -1, heads.size), k, v


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
