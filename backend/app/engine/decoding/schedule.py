"""The published schedules: the number of masks that each step commits."""

from __future__ import annotations

import numpy as np
import torch


def spread_evenly(total: int, num_parts: int) -> list[int]:
    """`total` in `num_parts` whole parts, the larger ones first: 6 in 4 -> [2, 2, 1, 1]. No parts take nothing."""
    if num_parts == 0:
        return []
    base, rest = divmod(total, num_parts)
    return [base + (part < rest) for part in range(num_parts)]


def block_spans(start: int, end: int, block_length: int | None) -> list[tuple[int, int]]:
    """The half-open blocks [start, end) is denoised in, left to right; the last one may be shorter."""
    length = block_length or max(end - start, 1)
    return [(low, min(low + length, end)) for low in range(start, end, length)]


def steps_per_block(blocks: list[tuple[int, int]], steps: int | None) -> list[int]:
    """Denoising steps of each block, at least one; without a total it is one per position.

    Where `steps` divides evenly this is LLaDA's `steps // num_blocks` (ML-GSAI/LLaDA, `generate.py`).
    """
    if steps is None:
        return [high - low for low, high in blocks]
    return [max(1, count) for count in spread_evenly(steps, len(blocks))]


def least_commits(num_masks: int, steps_left: int) -> int:
    """Commits of this step with which as many in each of the steps that are left fill all masks."""
    return -(-num_masks // steps_left)


def timesteps(steps: int, eps: float) -> list[np.float32]:
    """steps + 1 times from 1 to `eps` in float32.

    Dream truncates products of these, so the last bit can decide how many tokens a step commits; hence
    `torch.linspace`, as published: other implementations round differently.
    """
    return list(torch.linspace(1.0, eps, steps + 1, dtype=torch.float32).numpy())


def dream_transfer_count(num_masks: float, step: int, times: list[np.float32]) -> int:
    """Dream's number of commits at `step`: masks · (1 - s/t), truncated; all that are left in the last step.

    DreamLM/Dream, `generation_utils.py`; with one token per step the first one usually commits nothing.
    """
    if step == len(times) - 2:
        return int(num_masks)
    return int(np.float32(num_masks) * (np.float32(1.0) - times[step + 1] / times[step]))


def origin_transfer_probability(step: int, times: list[np.float32]) -> float:
    """Dream's `origin`: every mask is committed at `step` with probability 1 - s/t, in the last step with certainty."""
    if step == len(times) - 2:
        return 1.0
    return float(np.float32(1.0) - times[step + 1] / times[step])
