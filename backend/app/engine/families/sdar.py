"""SDAR (arXiv 2510.06303): blocks from left to right, each denoised with exact keys of those before it. Also TraDo."""

from __future__ import annotations

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

SDAR = Family(
    name="sdar",
    published_names=("sdar", "SDARForCausalLM"),
    parse_config=BlockCausalConfig(_PUBLISHED, block_key="block_size", block_length=4).parse,
    build=Qwen,
    completion=TokenizerCompletion(mask_text="<|MASK|>"),
    sampler=BlockCausalSampler,
    span=SpanOfBlocks(fills_last_block=True),
    parameters=BLOCK_PARAMETERS,
    resolve=with_block_length,
    infills=False,
)
