"""Classifier-free guidance for masked diffusion (SMDM, arXiv 2410.18514; LLaDA, `generate.py`)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def unconditional_ids(ids: Sequence[int], span: range, mask_id: int) -> list[int]:
    """The canvas with all given text masked; what has been committed in `span` stays."""
    return [token_id if index in span else mask_id for index, token_id in enumerate(ids)]


def guide(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """u + (scale + 1) · (c - u), each [R, V]; a scale of 0 changes nothing."""
    return unconditional + (scale + 1) * (conditional - unconditional)
