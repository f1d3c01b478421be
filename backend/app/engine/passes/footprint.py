"""The memory of a pass and of what is cached between two: what the runner of a model takes, known from its config."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from app.engine.models.base import ModelConfig
from app.engine.passes.graph_forward import MAX_SCORE_BYTES

# float32 logits, their filtered copy and probabilities, and the float64 distribution that tokens are drawn from.
_BYTES_PER_LOGIT = 4 * 3 + 8 * 2


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes beside the weights, estimated from above."""

    config: ModelConfig
    dtype: torch.dtype
    is_graphed: bool
    """Whether the model runs as graphs."""

    @property
    def bytes_per_row(self) -> int:
        """Memory that one row of logits needs while it is decoded."""
        return self.config.vocab_size * _BYTES_PER_LOGIT

    def of_states(self, num_tokens: int) -> int:
        """Bytes of the states of so many tokens in a layer."""
        config = self.config
        # The residual stream and its normalised copy, float32 copies of queries and keys, and the gate, up and product.
        values = 4 * config.width + 3 * config.num_heads * config.head_dim * 2 + 3 * config.mlp_width
        num_bytes = num_tokens * values * max(self.dtype.itemsize, 4)
        if self.is_graphed:  # scores and their mask; modules never hold them all
            num_bytes += min(4 * (config.num_heads + 1) * num_tokens**2, 2 * MAX_SCORE_BYTES)
        return num_bytes

    def of_pass(self, num_tokens: int, num_rows: int) -> int:
        """Bytes that a forward pass takes. `num_rows`: of logits."""
        return self.of_states(num_tokens) + num_rows * self.bytes_per_row

    def cached(self, num_tokens: int, num_rows: int = 0) -> int:
        """Bytes of the cached keys and values of `num_tokens`, and of `num_rows` of distributions (`divergence.py`)."""
        config = self.config
        # Modules cache keys before rotation too, so that tokens can move; in blocks none does.
        num_each = 2 if self.is_graphed or config.block_length is not None else 3
        per_token = num_each * config.num_layers * config.num_kv_heads * config.head_dim * self.dtype.itemsize
        return num_tokens * per_token + num_rows * config.vocab_size * torch.float32.itemsize
