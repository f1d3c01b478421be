"""LLaDA: the prompt as the tokenizer frames it, and continuations in blocks."""

from __future__ import annotations

from app.services.diffusion.families.base import Preset, TextFamily

LLADA = TextFamily(
    name="llada",
    max_length=1024,
    always_begins=False,
    ends_infillings=False,
    block_length=32,  # short enough to read while it is written
    presets={
        "balanced": Preset(cache="dual", cache_refresh=4),
        "fast": Preset(cache="dual", cache_refresh=16, block_length=8, confidence_threshold=0.9),
    },
)
