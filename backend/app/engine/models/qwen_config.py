"""The `config.json` of a network in Qwen's layout (`qwen.py`): the keys that all its families have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.engine.canvas.special import SpecialIds
from app.engine.models.base import ModelConfig
from app.engine.models.fields import ConfigFields, even_share
from app.engine.models.positions import PositionDefaults, read_positions


@dataclass(frozen=True, slots=True)
class Published:
    """All that the published class of one family fixes."""

    name: str
    """The family's name in messages."""
    context_length: int
    """Positions where the config names no number of them."""
    prediction_shift: int
    qkv_biases: bool
    qk_norms: bool = False
    head_dim: int | None = None
    """Dimensions of a head where the config names none; `None`: the heads share the width."""
    only: Mapping[str, Any] | None = None
    """Switches that no release uses, and the values that are computed."""


def read_qwen_config(raw: Mapping[str, Any], family: str, published: Published, special: SpecialIds) -> ModelConfig:
    """Reads a published `config.json`; absent keys take the published defaults.

    Raises:
        CheckpointError: a value is missing or wrong, or asks for something that the network does not compute.
    """
    fields = ConfigFields(raw)
    fields.refuse_other_than({"hidden_act": "silu", **(published.only or {})}, published.name)
    width, num_layers = fields.integer("hidden_size"), fields.integer("num_hidden_layers")
    num_heads = fields.integer("num_attention_heads")
    head_dim = _head_dim(fields, published.head_dim, width, num_heads)
    defaults = PositionDefaults(published.name, context_length=published.context_length, window_needs_switch=True)
    positions = read_positions(raw, defaults, num_layers=num_layers, head_dim=head_dim)
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
        special=special,
        prediction_shift=published.prediction_shift,
        qkv_biases=published.qkv_biases,
        qk_norms=published.qk_norms,
    )


def _head_dim(fields: ConfigFields, default: int | None, width: int, num_heads: int) -> int:
    given = fields.integer_or_none("head_dim")
    if given is not None:
        return given
    return even_share(width, num_heads) if default is None else default
