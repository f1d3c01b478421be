"""Fast-dLLM v2 (arXiv 2509.26328): Qwen2.5 that denoises blocks from left to right, and in them smaller ones."""

from __future__ import annotations

from app.engine.decoding.block_causal import FastDllmSampler
from app.engine.families.base import Family
from app.engine.families.blocks import BLOCK_PARAMETERS, with_block_length
from app.engine.families.completion import TokenizerCompletion
from app.engine.families.span import SpanOfBlocks
from app.engine.models.block_causal import BlockCausalConfig
from app.engine.models.qwen import Qwen
from app.engine.models.qwen_config import Published

_PUBLISHED = Published(
    "Fast-dLLM v2",
    context_length=32_768,
    prediction_shift=1,
    qkv_biases=True,
    only={"use_sliding_window": False},
)

FAST_DLLM_V2 = Family(
    name="fast_dllm_v2",
    published_names=("Fast_dLLM_Qwen", "Fast_dLLM_QwenForCausalLM"),
    # generation_config.json names <|endoftext|> too, at which the published sampler does not stop.
    parse_config=BlockCausalConfig(_PUBLISHED, block_key="bd_size", block_length=32, several_ends=False).parse,
    build=Qwen,
    completion=TokenizerCompletion(mask_text="|<MASK>|"),
    sampler=FastDllmSampler,
    span=SpanOfBlocks(fills_last_block=True),
    parameters=BLOCK_PARAMETERS | {"sub_block_length"},
    resolve=with_block_length,
    infills=False,
)
