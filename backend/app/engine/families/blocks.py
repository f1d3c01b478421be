"""The parts of a declaration that the block-causal families share."""

from __future__ import annotations

from dataclasses import replace

from app.engine.interface.errors import InvalidRequest
from app.engine.interface.params import DecodingParams
from app.engine.models.base import ModelConfig

BLOCK_PARAMETERS = frozenset({"block_length", "steps_per_block", "eos_never_predicted"})
"""Parameters that every block-causal family takes."""


def with_block_length(params: DecodingParams, config: ModelConfig) -> DecodingParams:
    """Fills in the block length that the checkpoint was trained with.

    Raises:
        InvalidRequest: a block is longer than the context.
    """
    length = params.block_length or config.block_length
    if length is not None and length > config.context_length:
        raise InvalidRequest(
            f"block_length={length} is above the context of {config.context_length} tokens; the checkpoint was trained "
            f"with {config.block_length}",
            field="block_length",
        )
    return replace(params, block_length=length)
