"""Fast-dLLM v2: continuations in blocks, each of which begins like an autoregressive model's next token."""

from __future__ import annotations

from app.services.diffusion.families.base import Preset, TextFamily

FAST_DLLM_V2 = TextFamily(
    name="fast_dllm_v2",
    max_length=2048,
    always_begins=False,
    ends_infillings=False,
    infills=False,
    presets={
        "balanced": Preset(confidence_threshold=0.95),
        "fast": Preset(confidence_threshold=0.9),
    },
)
