"""iLLaDA: framed and written like LLaDA, in a longer context."""

from __future__ import annotations

from app.services.diffusion.families.base import Preset, TextFamily

ILLADA = TextFamily(
    name="illada",
    max_length=2048,
    always_begins=False,
    ends_infillings=False,
    block_length=32,  # as published, and short enough to read while it is written
    presets={
        "balanced": Preset(cache="dual", cache_refresh=4),
        "fast": Preset(cache="dual", cache_refresh=16, block_length=8, confidence_threshold=0.9),
    },
)
