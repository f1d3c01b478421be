"""The configs of Dream and DreamOn: Qwen2.5 shapes without causal mask (arXiv 2508.15487; DreamOn arXiv 2602.01326).

Also Dream-Coder and DiffuCoder. The prediction for position i is read at row i - 1: the family was adapted from an
autoregressive model and kept its shift.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.engine.canvas.special import SpecialIds
from app.engine.models.base import ModelConfig
from app.engine.models.fields import ConfigFields
from app.engine.models.qwen_config import Published, read_qwen_config

_PUBLISHED = Published("Dream", context_length=2048, prediction_shift=1, qkv_biases=True)


def parse_config(raw: Mapping[str, Any], family: str) -> ModelConfig:
    """Reads the published `config.json` of a family with this network; absent keys take the published defaults.

    Raises:
        CheckpointError: a value is missing or wrong, or asks for something that this family module does not compute.
    """
    fields = ConfigFields(raw)
    special = SpecialIds.with_ends(
        fields.integers("eos_token_id"),
        mask=fields.integer("mask_token_id"),
        pad=fields.integer_or_none("pad_token_id"),
        bos=fields.integer_or_none("bos_token_id"),
        expand=fields.integer_or_none("expand_token_id"),
    )
    return read_qwen_config(raw, family, _PUBLISHED, special)
