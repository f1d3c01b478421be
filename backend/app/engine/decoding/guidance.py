"""Classifier-free guidance for masked diffusion (SMDM, arXiv 2410.18514; LLaDA, `generate.py`)."""

from __future__ import annotations

from collections.abc import Container, Sequence

from torch import Tensor


def unconditional_ids(ids: Sequence[int], given: Container[int], mask_id: int) -> list[int]:
    """The canvas with the given text masked, by position; what has been committed since the start stays."""
    return [mask_id if index in given else token_id for index, token_id in enumerate(ids)]


def guide(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """u + (scale + 1) · (c - u), each [R, V]; a scale of 0 changes nothing."""
    return unconditional + (scale + 1) * (conditional - unconditional)
