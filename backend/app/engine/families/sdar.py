"""SDAR (arXiv 2510.06303): blocks from left to right, each denoised with exact keys of those before it. Also TraDo and
DreamReasoner (arXiv 2606.19257), whose network and sampler are the same under another name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.engine.decoding.block_causal import BlockCausalSampler
from app.engine.families.base import Family
from app.engine.families.blocks import BLOCK_PARAMETERS, with_block_length
from app.engine.families.completion import TokenizerCompletion
from app.engine.families.span import SpanOfBlocks
from app.engine.models.block_causal import BlockCausalConfig
from app.engine.models.qwen import Qwen
from app.engine.models.qwen_config import Published

_PUBLISHED = Published(
    "SDAR",
    context_length=32_768,
    prediction_shift=0,
    qkv_biases=False,
    qk_norms=True,
    head_dim=128,
    only={"attention_bias": False, "use_sliding_window": False},
)


def _has_blocks(raw: Mapping[str, Any]) -> bool:
    """Whether the config is SDAR's own, or a Dream's that has blocks: a Dream without them is another family."""
    return str(raw.get("model_type")).lower() != "dream" or raw.get("block_size") is not None


SDAR = Family(
    name="sdar",
    published_names=("sdar", "SDARForCausalLM", "DreamForCausalLM"),
    is_variant=_has_blocks,
    parse_config=BlockCausalConfig(_PUBLISHED, block_key="block_size", block_length=4).parse,
    build=Qwen,
    completion=TokenizerCompletion(mask_text="<|MASK|>"),
    sampler=BlockCausalSampler,
    span=SpanOfBlocks(fills_last_block=True),
    parameters=BLOCK_PARAMETERS,
    resolve=with_block_length,
    infills=False,
)
