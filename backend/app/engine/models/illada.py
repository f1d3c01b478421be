"""The config of iLLaDA (arXiv 2606.25331): LLaDA's attention, which looks both ways, in files of Llama's layout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.engine.canvas.special import SpecialIds
from app.engine.models.base import ModelConfig
from app.engine.models.fields import ConfigFields
from app.engine.models.qwen_config import Published, read_qwen_config

_PUBLISHED = Published(
    "iLLaDA",
    context_length=8192,
    prediction_shift=0,
    qkv_biases=False,
    only={"attention_bias": False, "mlp_bias": False, "layer_norm_eps": None, "use_sliding_window": False},
)


def parse_config(raw: Mapping[str, Any], family: str) -> ModelConfig:
    """Reads the published `config.json`; the mask comes from the tokenizer's files (`families/completion.py`).

    Raises:
        CheckpointError: a value is missing or wrong, or asks for something that the network does not compute.
    """
    fields = ConfigFields(raw)
    special = SpecialIds.with_ends(
        fields.integers("eos_token_id"),
        mask=fields.integer("mask_token_id"),
        pad=fields.integer_or_none("pad_token_id"),
        bos=fields.integer_or_none("bos_token_id"),
    )
    return read_qwen_config(raw, family, _PUBLISHED, special)
