"""The network of a masked diffusion language model, as the engine uses it.

Shapes: N tokens of all sequences of a batch, laid end to end; d width; R rows; V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import torch.nn.functional as F
from torch import Tensor, nn

from app.engine.canvas.special import SpecialIds
from app.engine.models.attention import AttentionVariant, PackedAttention
from app.engine.models.layers import Linear, RMSNorm, Rotary


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """All that the engine needs to know of a checkpoint, whatever its family."""

    family: str
    """The name of the family that declares what is done with the network (`engine/families`)."""
    vocab_size: int
    """Rows of the head; may exceed the tokenizer."""
    width: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    """Even. All heads together may be wider than the states, or narrower."""
    mlp_width: int
    context_length: int
    rope_theta: float
    norm_eps: float
    tied: bool
    """The head is the embedding matrix, and no head tensor is stored."""
    special: SpecialIds
    prediction_shift: int
    """The prediction for position i is read at row max(i - shift, 0): 1 in the Dream family."""
    qkv_biases: bool = False
    """Whether queries, keys and values have biases; nothing else ever has."""
    qk_norms: bool = False
    """Whether each head's queries and keys are normed before they are rotated."""
    block_length: int | None = None
    """Positions that see each other: a token sees its own block and those before it, and blocks lie on absolute
    positions. `None`: every token sees every other."""


@dataclass(frozen=True, slots=True)
class LayerParts:
    """The modules of one layer, whatever the published files call them."""

    attention_norm: RMSNorm
    q: Linear
    k: Linear
    v: Linear
    out: Linear
    mlp_norm: RMSNorm
    gate: Linear
    up: Linear
    down: Linear
    q_norm: RMSNorm | None = None
    """Norm of each head's queries, [D], between their product and their rotation."""
    k_norm: RMSNorm | None = None

    @property
    def linears(self) -> tuple[Linear, ...]:
        return self.q, self.k, self.v, self.out, self.gate, self.up, self.down


class Layer(nn.Module):
    """Called with states [N, d], a PackedAttention and the wanted rows, or `None` for all."""

    def parts(self) -> LayerParts:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Stack:
    """A family's modules between token ids and final states, whatever the published files call them."""

    embedding: nn.Module
    layers: Sequence[Layer]
    norm: RMSNorm
    head: Tensor
    """[V, d]"""


class FamilyModel(nn.Module):
    """A bidirectional transformer, split in two so that the head is computed only where it is wanted."""

    EMBEDDING_NAME: ClassVar[str]
    """Name of the embedding in the published files."""
    HEAD_NAME: ClassVar[str]
    """Name of the head in the published files, where it is not the embedding too."""

    config: ModelConfig
    rotary: Rotary

    def stack(self) -> Stack:
        raise NotImplementedError

    def hidden(
        self,
        ids: Tensor,
        positions: Tensor,
        lengths: Sequence[int],
        rows: Tensor | None = None,
        variants: Sequence[AttentionVariant | None] = (),
    ) -> Tensor:
        """Final states [N, d] of ids [N] at positions [N]; the sequences' lengths add up to N at most.

        Args:
            rows: only these states are wanted, [R, d]; the last layer computes what follows its attention for no other.
            variants: how each sequence attends; `None`: to all of itself (`attention.py`).
        """
        stack = self.stack()
        attention = PackedAttention(self.rotary, positions, lengths, variants)
        x = stack.embedding(ids)
        *layers, last = stack.layers
        for layer in layers:
            x = layer(x, attention)
        return cast(Tensor, stack.norm(last(x, attention, rows)))

    def head(self, states: Tensor) -> Tensor:
        """states [R, d] -> raw logits [R, V], in the model's dtype, not shifted."""
        return F.linear(states, self.stack().head)
