"""Stable-DiffCoder: continuations in blocks, best where each step commits one token."""

from __future__ import annotations

from app.services.diffusion.families.base import Preset, TextFamily

STABLE_DIFFCODER = TextFamily(
    name="stable_diffcoder",
    max_length=2048,
    always_begins=False,
    ends_infillings=False,
    infills=False,
    presets={
        "balanced": Preset(confidence_threshold=0.95),
        "fast": Preset(confidence_threshold=0.9),
    },
)
