"""SDAR: continuations in blocks of the checkpoint's own length."""

from __future__ import annotations

from app.services.diffusion.families.base import Preset, TextFamily

SDAR = TextFamily(
    name="sdar",
    max_length=2048,
    always_begins=False,
    ends_infillings=False,
    infills=False,
    presets={
        "balanced": Preset(confidence_threshold=0.95),
        "fast": Preset(confidence_threshold=0.9),
    },
)
