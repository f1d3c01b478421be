"""Dream and DreamOn: Qwen2.5 shapes without causal mask (arXiv 2508.15487; DreamOn arXiv 2602.01326).

Also Dream-Coder and DiffuCoder. q, k and v have biases. The prediction for position i is read at row i - 1:
the family was adapted from an autoregressive model and kept its shift. Module names are the published tensor names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from torch import Tensor, nn

from app.engine.canvas.special import SpecialIds
from app.engine.models.attention import PackedAttention
from app.engine.models.base import FamilyModel, Layer, LayerParts, ModelConfig, Stack
from app.engine.models.fields import ConfigFields, even_share
from app.engine.models.layers import Embedding, Linear, RMSNorm, Rotary, chosen, swiglu
from app.engine.models.positions import PositionDefaults, read_positions

_ONLY_VARIANT = {"hidden_act": "silu"}
_POSITION_DEFAULTS = PositionDefaults("Dream", context_length=2048, window_needs_switch=True)


def parse_config(raw: Mapping[str, Any], family: str) -> ModelConfig:
    """Reads the published `config.json` of a family with this network; absent keys take the published defaults.

    Raises:
        CheckpointError: a value is missing or wrong, or asks for something that this family module does not compute.
    """
    fields = ConfigFields(raw)
    fields.refuse_other_than(_ONLY_VARIANT, "Dream")
    width, num_layers = fields.integer("hidden_size"), fields.integer("num_hidden_layers")
    num_heads = fields.integer("num_attention_heads")
    head_dim = even_share(width, num_heads)
    positions = read_positions(raw, _POSITION_DEFAULTS, num_layers=num_layers, head_dim=head_dim)
    return ModelConfig(
        family=family,
        vocab_size=fields.integer("vocab_size"),
        width=width,
        num_layers=num_layers,
        num_heads=num_heads,
        num_kv_heads=fields.integer("num_key_value_heads", num_heads),
        head_dim=head_dim,
        mlp_width=fields.integer("intermediate_size"),
        context_length=positions.context_length,
        rope_theta=positions.theta,
        norm_eps=fields.positive_number("rms_norm_eps", 1e-6),
        tied=fields.flag("tie_word_embeddings", False),
        special=SpecialIds.with_ends(
            fields.integers("eos_token_id"),
            mask=fields.integer("mask_token_id"),
            pad=fields.integer_or_none("pad_token_id"),
            bos=fields.integer_or_none("bos_token_id"),
            expand=fields.integer_or_none("expand_token_id"),
        ),
        prediction_shift=1,
        qkv_biases=True,
    )


class Attention(nn.Module):
    """Grouped-query attention with biases."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        kv_width = config.num_kv_heads * config.head_dim
        self.head_dim = config.head_dim
        self.q_proj = Linear(config.width, config.width)
        self.k_proj = Linear(config.width, kv_width)
        self.v_proj = Linear(config.width, kv_width)
        self.o_proj = Linear(config.width, config.width, bias=False)

    def forward(self, x: Tensor, attention: PackedAttention, rows: Tensor | None = None) -> Tensor:
        q = self.q_proj(x).unflatten(-1, (-1, self.head_dim))  # [N, H, D]
        k = self.k_proj(x).unflatten(-1, (-1, self.head_dim))  # [N, K, D]
        v = self.v_proj(x).unflatten(-1, (-1, self.head_dim))
        attended = attention(q, k, v)
        return cast(Tensor, self.o_proj(chosen(attended, rows)))


class MLP(nn.Module):
    """The gated feed-forward layer (SwiGLU)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = Linear(config.width, config.mlp_width, bias=False)
        self.up_proj = Linear(config.width, config.mlp_width, bias=False)
        self.down_proj = Linear(config.mlp_width, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.down_proj(swiglu(self.gate_proj(x), self.up_proj(x))))


class Block(Layer):
    """A transformer layer: attention and MLP, each behind a norm and with a residual."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.width, config.norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.width, config.norm_eps)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, attention: PackedAttention, rows: Tensor | None = None) -> Tensor:
        x = chosen(x, rows) + self.self_attn(self.input_layernorm(x), attention, rows)
        return x + cast(Tensor, self.mlp(self.post_attention_layernorm(x)))

    def parts(self) -> LayerParts:
        attention, mlp = self.self_attn, self.mlp
        return LayerParts(
            self.input_layernorm,
            *(attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj),
            self.post_attention_layernorm,
            *(mlp.gate_proj, mlp.up_proj, mlp.down_proj),
        )


class Inner(nn.Module):
    """The embedding, the layers and the last norm, under their published names."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embed_tokens = Embedding(config.vocab_size, config.width)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.norm = RMSNorm(config.width, config.norm_eps)


class Dream(FamilyModel):
    """The network of Dream and DreamOn."""

    EMBEDDING_NAME = "model.embed_tokens.weight"
    HEAD_NAME = "lm_head.weight"

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Inner(config)
        if not config.tied:
            self.lm_head = Linear(config.width, config.vocab_size, bias=False)
        self.rotary = Rotary(config.head_dim, config.rope_theta)

    def stack(self) -> Stack:
        head = self.model.embed_tokens if self.config.tied else self.lm_head
        return Stack(self.model.embed_tokens, cast(Sequence[Layer], self.model.layers), self.model.norm, head.weight)
