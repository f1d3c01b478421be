"""LLaDA: a LLaMA-like transformer without causal mask (arXiv 2502.09992); LLaDA-8B and LLaDA-1.5.

No biases; the prediction for position i is read at row i. Module names are the published tensor names.
Two names mislead: `ff_out` is both a block's down projection and the head, and `ff_proj` is the gate.
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

_ONLY_VARIANT = {
    "block_type": "llama",
    "activation_type": "silu",
    "layer_norm_type": "rms",
    "include_bias": False,
    "include_qkv_bias": False,
    "scale_logits": False,
    "input_emb_norm": False,
    "attention_layer_norm": False,
}
_POSITION_DEFAULTS = PositionDefaults("LLaDA", context_length=4096, window_needs_switch=False)


def parse_config(raw: Mapping[str, Any], family: str) -> ModelConfig:
    """Reads the published `config.json` of a family with this network; absent keys take the published defaults.

    Raises:
        CheckpointError: a value is missing or wrong, or asks for something that this family module does not compute.
    """
    fields = ConfigFields(raw)
    fields.refuse_other_than(_ONLY_VARIANT, "LLaDA")
    width, num_heads = fields.integer("d_model"), fields.integer("n_heads")
    num_layers = fields.integer("n_layers")
    head_dim = even_share(width, num_heads)
    positions = read_positions(raw, _POSITION_DEFAULTS, num_layers=num_layers, head_dim=head_dim)
    return ModelConfig(
        family=family,
        vocab_size=fields.integer("embedding_size", fields.integer_or_none("vocab_size")),
        width=width,
        num_layers=num_layers,
        num_heads=num_heads,
        num_kv_heads=fields.integer("n_kv_heads", num_heads),
        head_dim=head_dim,
        mlp_width=fields.integer("mlp_hidden_size", width * fields.integer("mlp_ratio", 4)),
        context_length=positions.context_length,
        rope_theta=positions.theta,
        norm_eps=fields.positive_number("rms_norm_eps", 1e-5),
        tied=fields.flag("weight_tying", True),  # as the published class has it
        special=SpecialIds.with_ends(
            fields.integers("eos_token_id"),
            mask=fields.integer("mask_token_id"),
            pad=fields.integer_or_none("pad_token_id"),
            bos=fields.integer_or_none("bos_token_id"),
        ),
        prediction_shift=0,
    )


class Block(Layer):
    """A transformer layer: attention and MLP, each behind a norm and with a residual."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        kv_width = config.num_kv_heads * config.head_dim
        self.head_dim = config.head_dim
        self.attn_norm = RMSNorm(config.width, config.norm_eps)
        self.q_proj = Linear(config.width, config.width, bias=False)
        self.k_proj = Linear(config.width, kv_width, bias=False)
        self.v_proj = Linear(config.width, kv_width, bias=False)
        self.attn_out = Linear(config.width, config.width, bias=False)
        self.ff_norm = RMSNorm(config.width, config.norm_eps)
        self.ff_proj = Linear(config.width, config.mlp_width, bias=False)
        self.up_proj = Linear(config.width, config.mlp_width, bias=False)
        self.ff_out = Linear(config.mlp_width, config.width, bias=False)

    def forward(self, x: Tensor, attention: PackedAttention, rows: Tensor | None = None) -> Tensor:
        normed = self.attn_norm(x)
        q = self.q_proj(normed).unflatten(-1, (-1, self.head_dim))  # [N, H, D]
        k = self.k_proj(normed).unflatten(-1, (-1, self.head_dim))  # [N, K, D]
        v = self.v_proj(normed).unflatten(-1, (-1, self.head_dim))
        attended = attention(q, k, v)
        x = chosen(x, rows) + self.attn_out(chosen(attended, rows))
        normed = self.ff_norm(x)
        return x + cast(Tensor, self.ff_out(swiglu(self.ff_proj(normed), self.up_proj(normed))))

    def parts(self) -> LayerParts:
        attention = self.attn_norm, self.q_proj, self.k_proj, self.v_proj, self.attn_out
        return LayerParts(*attention, self.ff_norm, self.ff_proj, self.up_proj, self.ff_out)


class Transformer(nn.Module):
    """The embedding, the layers, the last norm and the head, under their published names."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.wte = Embedding(config.vocab_size, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.ln_f = RMSNorm(config.width, config.norm_eps)
        if not config.tied:
            self.ff_out = Linear(config.width, config.vocab_size, bias=False)


class Inner(nn.Module):
    """The published files nest the transformer one level deeper than they need: `model.transformer.…`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.transformer = Transformer(config)


class LLaDA(FamilyModel):
    """The network of LLaDA."""

    EMBEDDING_NAME = "model.transformer.wte.weight"
    HEAD_NAME = "model.transformer.ff_out.weight"

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Inner(config)
        self.rotary = Rotary(config.head_dim, config.rope_theta)

    def stack(self) -> Stack:
        inner = self.model.transformer
        head = inner.wte if self.config.tied else inner.ff_out
        return Stack(inner.wte, cast(Sequence[Layer], inner.blocks), inner.ln_f, head.weight)
