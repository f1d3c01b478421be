"""The configs of block-causal families: SDAR (arXiv 2510.06303), Stable-DiffCoder and Fast-dLLM v2 (arXiv 2509.26328).

A token sees all of its own block of positions, and the blocks before it. Their files leave different things out, so two
keys may come from the tokenizer's files (`families/completion.py`): `mask_token_id` and `unusable_token_ids`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from app.engine.canvas.special import SpecialIds
from app.engine.interface.errors import CheckpointError
from app.engine.models.base import ModelConfig
from app.engine.models.fields import ConfigFields
from app.engine.models.qwen_config import Published, read_qwen_config


@dataclass(frozen=True, slots=True)
class BlockCausalConfig:
    """Reads the published `config.json` of one of these families."""

    published: Published
    block_key: str
    """Key of the block's positions."""
    block_length: int
    """Positions of a block where the config names no number of them."""
    several_ends: bool = True
    """Whether each end of the text that the files name is one; else only the first, which `config.json` names."""

    def parse(self, raw: Mapping[str, Any], family: str) -> ModelConfig:
        """Gives what the engine needs to know; absent keys take the published defaults.

        Raises:
            CheckpointError: a value is missing or wrong, or asks for something that the network does not compute.
        """
        config = read_qwen_config(raw, family, self.published, self._special(ConfigFields(raw)))
        length = ConfigFields(raw).integer(self.block_key, self.block_length)
        if not 1 <= length <= max(config.context_length, 1):
            expected = f"a whole number from 1 to {config.context_length}, the positions of the context"
            raise CheckpointError(f"config.json: {self.block_key}={length} must be {expected}")
        return replace(config, block_length=length)

    def _special(self, fields: ConfigFields) -> SpecialIds:
        ends = fields.integers("eos_token_id")
        return SpecialIds.with_ends(
            ends if self.several_ends else ends[:1],
            mask=fields.integer("mask_token_id"),
            pad=fields.integer_or_none("pad_token_id"),
            bos=fields.integer_or_none("bos_token_id"),
            unusable=fields.integers("unusable_token_ids", ()),
        )
