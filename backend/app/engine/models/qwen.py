"""A transformer in the layout of Qwen's published files, which is that of Llama's: module names are tensor names.

Dream, DreamOn and Fast-dLLM v2 (Qwen2.5), SDAR (Qwen3) and Stable-DiffCoder (Llama) differ in what their config
says: biases of queries, keys and values, norms of queries and keys, the width of a head, a head of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from app.engine.models.attention import PackedAttention
from app.engine.models.base import FamilyModel, Layer, LayerParts, ModelConfig, Stack
from app.engine.models.layers import Embedding, Linear, RMSNorm, Rotary, chosen, swiglu


class Attention(nn.Module):
    """Grouped-query attention, with biases and with norms of each head where the config says so."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        q_width, kv_width = (count * config.head_dim for count in (config.num_heads, config.num_kv_heads))
        self.head_dim = config.head_dim
        self.q_proj = Linear(config.width, q_width, bias=config.qkv_biases)
        self.k_proj = Linear(config.width, kv_width, bias=config.qkv_biases)
        self.v_proj = Linear(config.width, kv_width, bias=config.qkv_biases)
        self.o_proj = Linear(q_width, config.width, bias=False)
        self.q_norm = RMSNorm(config.head_dim, config.norm_eps) if config.qk_norms else None
        self.k_norm = RMSNorm(config.head_dim, config.norm_eps) if config.qk_norms else None

    def forward(self, x: Tensor, attention: PackedAttention, rows: Tensor | None = None) -> Tensor:
        q = self.q_proj(x).unflatten(-1, (-1, self.head_dim))  # [N, H, D]
        k = self.k_proj(x).unflatten(-1, (-1, self.head_dim))  # [N, K, D]
        v = self.v_proj(x).unflatten(-1, (-1, self.head_dim))
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
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
            q_norm=attention.q_norm,
            k_norm=attention.k_norm,
        )


class Inner(nn.Module):
    """The embedding, the layers and the last norm, under their published names."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embed_tokens = Embedding(config.vocab_size, config.width)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.norm = RMSNorm(config.width, config.norm_eps)


class Qwen(FamilyModel):
    """The network of every family whose files have this layout."""

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
