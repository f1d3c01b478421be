"""Dream: beginning of text, prefix, masks, suffix, end of text; a continuation has nothing behind its masks."""

from __future__ import annotations

from app.services.diffusion.families.base import Preset, TextFamily

DREAM = TextFamily(
    name="dream",
    max_length=2048,
    always_begins=True,
    ends_infillings=True,
    presets={
        "balanced": Preset(cache="dual", cache_refresh=8),
        "fast": Preset(cache="dual", cache_refresh=32),
    },
)
