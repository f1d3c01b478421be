"""DreamOn: Dream's prompt, around an answer that begins small."""

from __future__ import annotations

from app.services.diffusion.families.base import Preset, TextFamily

DREAMON = TextFamily(
    name="dreamon",
    max_length=2048,
    always_begins=True,
    ends_infillings=True,
    starting_masks={"generate": 32, "infill": 8},
    presets={
        "balanced": Preset(cache="dual", cache_refresh=8),
        "fast": Preset(cache="dual", confidence_threshold=0.9),
    },
)
