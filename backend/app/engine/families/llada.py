"""LLaDA (arXiv 2502.09992): blocks of fixed length from left to right. LLaDA-8B and LLaDA-1.5."""

from __future__ import annotations

from app.engine.decoding.block import BlockSampler
from app.engine.families.base import Family
from app.engine.families.span import FixedSpan
from app.engine.models import llada

LLADA = Family(
    name="llada",
    published_names=("llada", "LLaDAModelLM"),
    parse_config=llada.parse_config,
    build=llada.LLaDA,
    sampler=BlockSampler,
    span=FixedSpan(),
    parameters=frozenset({"block_length", "cfg_scale", "eos_never_predicted", "eos_last", "mask_lengths"}),
)
