"""SDAR, Stable-DiffCoder and Fast-dLLM v2: continuations in blocks of the checkpoint's own length.

Stable-DiffCoder is best where each step commits one token, which is `exact`.
"""

from __future__ import annotations

from app.services.diffusion.families.base import Preset, TextFamily


def _block_causal(name: str) -> TextFamily:
    return TextFamily(
        name=name,
        max_length=2048,
        always_begins=False,
        ends_infillings=False,
        infills=False,
        presets={
            "balanced": Preset(confidence_threshold=0.95),
            "fast": Preset(confidence_threshold=0.9),
        },
    )


SDAR = _block_causal("sdar")
STABLE_DIFFCODER = _block_causal("stable_diffcoder")
FAST_DLLM_V2 = _block_causal("fast_dllm_v2")
