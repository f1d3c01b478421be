"""Stable-DiffCoder: a Llama that denoises blocks of code from left to right. Its `model_type` is `llama`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.engine.decoding.block_causal import StableDiffCoderSampler
from app.engine.families.base import Family
from app.engine.families.blocks import BLOCK_PARAMETERS, with_block_length
from app.engine.families.completion import TokenizerCompletion
from app.engine.families.span import SpanOfBlocks
from app.engine.models.block_causal import BlockCausalConfig
from app.engine.models.qwen import Qwen
from app.engine.models.qwen_config import Published

_CLASS = "StableDiffcoderForCausalLM"
_PUBLISHED = Published(
    "Stable-DiffCoder",
    context_length=8_192,
    prediction_shift=0,
    qkv_biases=False,
    only={"attention_bias": False, "mlp_bias": False, "use_sliding_window": False},
)


def _names_its_class(raw: Mapping[str, Any]) -> bool:
    """Whether `architectures` or `auto_map` names the published class: a plain Llama is another family."""
    architectures, auto_map = raw.get("architectures"), raw.get("auto_map")
    names = [*(architectures if isinstance(architectures, list) else ())]
    names += auto_map.values() if isinstance(auto_map, dict) else ()
    return any(str(name).rpartition(".")[2].lower() == _CLASS.lower() for name in names)


STABLE_DIFFCODER = Family(
    name="stable_diffcoder",
    published_names=(_CLASS, "llama"),
    is_variant=_names_its_class,
    parse_config=BlockCausalConfig(_PUBLISHED, block_key="block_size", block_length=4).parse,
    build=Qwen,
    completion=TokenizerCompletion(mask_text="<[MASK_TOKEN]>"),
    sampler=StableDiffCoderSampler,
    span=SpanOfBlocks(fills_last_block=False),
    parameters=BLOCK_PARAMETERS,
    resolve=with_block_length,
    infills=False,
)
