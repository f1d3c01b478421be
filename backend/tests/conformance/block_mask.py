"""Attention under the mask of block-causal families, as the forward vectors define it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from app.engine.models.layers import attend_across


@dataclass(frozen=True)
class BlockMask:
    """Token i sees token j where ⌊j / B⌋ ≤ ⌊i / B⌋, all positions from 0 on. Three tokens with B = 2: 0 and 1 see each
    other, and 2 sees all.
    """

    block_length: int

    def attend(self, layer: int, q: Tensor, k: Tensor, rotated_k: Tensor, v: Tensor) -> Tensor:
        block = torch.arange(len(q)) // self.block_length
        return attend_across(q, rotated_k, v, block[None, :] <= block[:, None])
