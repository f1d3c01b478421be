"""Computes a batch's loss and gradient: by the network's own forward, or in bfloat16 on a CPU by `operations.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from app.engine.models.base import FamilyModel, LayerParts
from training.layout import Heads, Layout, filled_size
from training.objectives import Batch, summed_loss
from training.operations import Angles, attention, gated, norm, summed_cross_entropy
from training.precision import bf16_computation

TOKEN_STEP, ROW_STEP = 256, 128
"""The numbers of tokens and of rows with a loss are filled up to multiples of these."""


class Pass(Protocol):
    """One step's forward and backward; parts of a batch may be computed by several threads at once."""

    def part(self, batch: Batch, total_weight: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The loss of a part's answers over the weight of all, and its gradient by the pass's own weights."""
        ...

    def finish(self, gradients: Sequence[Tensor]) -> Sequence[Tensor]:
        """The gradient by the model's parameters from the sums of those that the parts gave."""
        ...


class PlainPass:
    """The network's own forward; in bfloat16 where autocast finds that safe."""

    def __init__(self, model: FamilyModel, *, is_bf16: bool = False) -> None:
        self._model, self._is_bf16 = model, is_bf16
        self._parameters = list(model.parameters())

    def part(self, batch: Batch, total_weight: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """See `Pass.part`."""
        with bf16_computation(batch.ids.device, enabled=self._is_bf16):
            loss = summed_loss(self._model, batch) / total_weight
        # Not backward(): threads must not add to the same gradient at the same time.
        return loss.detach(), torch.autograd.grad(loss, self._parameters)

    def finish(self, gradients: Sequence[Tensor]) -> Sequence[Tensor]:
        """See `Pass.finish`."""
        return gradients


@dataclass(frozen=True, slots=True)
class _LayerWeights:
    """The weights of a layer in bfloat16, those that read the same states in one matrix; norms in float32."""

    attention_norm: Tensor
    qkv: Tensor
    qkv_bias: Tensor | None
    out: Tensor
    mlp_norm: Tensor
    gate_up: Tensor
    down: Tensor


class Bf16Pass:
    """The forward in bfloat16 on a CPU, with residual states, norms and loss in float32.

    The weights are cast once a step. Parts compute gradients by the cast weights; `finish` leads them on to the
    parameters.
    """

    def __init__(self, model: FamilyModel) -> None:
        stack, config = model.stack(), model.config
        self._parameters = list(model.parameters())
        self._sources: list[Tensor] = []
        self._weights: list[Tensor] = []
        self._heads = Heads(config.num_heads, config.num_kv_heads, config.head_dim)
        self._rotary = model.rotary
        self._eps, self._has_biases = config.norm_eps, config.qkv_biases
        self._embedding = self._taken(cast(Tensor, stack.embedding.weight))
        self._layers = [self._layer(layer.parts()) for layer in stack.layers]
        self._norm = self._taken(stack.norm.weight)
        self._head = self._cast(stack.head)

    def part(self, batch: Batch, total_weight: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """See `Pass.part`."""
        filled = _filled(batch)
        layout = Layout.of(batch.lengths, len(filled.ids), self._heads)
        angles = self._angles(filled.positions)
        states = F.embedding(filled.ids, self._embedding)
        for layer in self._layers[:-1]:
            states = self._forward(layer, states, layout, angles)
        states = self._forward(self._layers[-1], states, layout, angles, filled.rows)
        normed = norm(states, self._norm, self._eps)
        loss = summed_cross_entropy(normed, self._head, filled.targets, filled.weights / total_weight)
        return loss.detach(), tuple(g.float() for g in torch.autograd.grad(loss, self._weights))

    def finish(self, gradients: Sequence[Tensor]) -> Sequence[Tensor]:
        """See `Pass.finish`."""
        return torch.autograd.grad(self._sources, self._parameters, gradients)

    def _forward(
        self,
        layer: _LayerWeights,
        states: Tensor,
        layout: Layout,
        angles: Angles,
        rows: Tensor | None = None,
    ) -> Tensor:
        """states [N, d] -> [N, d]; where only `rows` [R] are wanted of the last layer, [R, d]."""
        normed = norm(states, layer.attention_norm, self._eps)
        qkv = F.linear(normed, layer.qkv, layer.qkv_bias)
        attended = attention(qkv, layout, self._heads, angles)
        if rows is not None:
            states, attended = states[rows], attended[rows]
        states = states + F.linear(attended, layer.out)
        normed = norm(states, layer.mlp_norm, self._eps)
        return states + F.linear(gated(F.linear(normed, layer.gate_up)), layer.down)

    def _angles(self, positions: Tensor) -> Angles:
        """The angles at positions [N]; a sample with surplus masks may be longer than the model's context."""
        cos, sin = self._rotary.angles(positions)
        half = self._heads.size // 2
        return Angles(cos[..., :half].bfloat16(), sin[..., half:].bfloat16())

    def _layer(self, parts: LayerParts) -> _LayerWeights:
        projections = (parts.q, parts.k, parts.v)
        return _LayerWeights(
            self._taken(parts.attention_norm.weight),
            self._cast(torch.cat([linear.weight for linear in projections])),
            self._cast(torch.cat([linear.bias for linear in projections])) if self._has_biases else None,
            self._cast(parts.out.weight),
            self._taken(parts.mlp_norm.weight),
            self._cast(torch.cat((parts.gate.weight, parts.up.weight))),
            self._cast(parts.down.weight),
        )

    def _cast(self, source: Tensor) -> Tensor:
        return self._leaf(source, source.detach().bfloat16())

    def _taken(self, source: Tensor) -> Tensor:
        return self._leaf(source, source.detach())

    def _leaf(self, source: Tensor, value: Tensor) -> Tensor:
        """A weight that the parts differentiate by; the gradient goes on from its source to the parameters."""
        self._sources.append(source.view_as(source))
        self._weights.append(value.requires_grad_())
        return value


def _filled(batch: Batch) -> Batch:
    """The batch with tokens and rows filled up, so that products have few shapes; filling weighs nothing."""
    num_tokens, num_rows = filled_size(len(batch.ids), TOKEN_STEP), filled_size(len(batch.rows), ROW_STEP)
    return replace(
        batch,
        ids=_longer(batch.ids, num_tokens),
        positions=_longer(batch.positions, num_tokens),
        rows=_longer(batch.rows, num_rows),
        targets=_longer(batch.targets, num_rows),
        weights=_longer(batch.weights, num_rows),
    )


def _longer(values: Tensor, size: int) -> Tensor:
    return F.pad(values, (0, size - len(values)))
