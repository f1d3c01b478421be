"""iLLaDA (arXiv 2606.25331): LLaDA's sampler, whose published code runs it unchanged, with a network of its own."""

from __future__ import annotations

from app.engine.decoding.block import BlockSampler
from app.engine.families.base import Family
from app.engine.families.completion import TokenizerCompletion
from app.engine.families.span import FixedSpan
from app.engine.models import illada
from app.engine.models.qwen import Qwen

ILLADA = Family(
    name="illada",
    published_names=("iLLaDA", "ILLaDAForCausalLM", "ILLaDAModel"),
    parse_config=illada.parse_config,
    build=Qwen,
    completion=TokenizerCompletion(mask_text="<[MASK]>"),
    sampler=BlockSampler,
    span=FixedSpan(),
    parameters=frozenset({"block_length", "cfg_scale", "eos_never_predicted", "eos_last", "mask_lengths"}),
)
