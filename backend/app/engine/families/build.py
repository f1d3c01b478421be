"""`config.json` to a module: the family reads it, and what no network could be built of is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.engine.families.registry import family_of
from app.engine.interface.errors import CheckpointError
from app.engine.models.base import FamilyModel, ModelConfig


def build_model(raw_config: Mapping[str, Any]) -> FamilyModel:
    """The module for a `config.json`, on the current default device, with the family's initial weights.

    Raises:
        CheckpointError: unknown family, a missing or senseless value, or an unsupported variant.
    """
    family = family_of(raw_config)
    config = family.config_of(raw_config)
    _check_shape(config)
    return family.build(config)


MAX_LAYERS = 1024


def _check_shape(config: ModelConfig) -> None:
    if config.num_layers > MAX_LAYERS:
        raise CheckpointError(f"config.json: layers is {config.num_layers}; more than {MAX_LAYERS} are not built")
    sizes = {
        "vocabulary": config.vocab_size,
        "width": config.width,
        "layers": config.num_layers,
        "heads": config.num_heads,
        "key/value heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "MLP width": config.mlp_width,
        "context length": config.context_length,
    }
    for name, size in sizes.items():
        if size < 1:
            raise CheckpointError(f"config.json: {name} is {size}; it must be at least 1")
    if config.head_dim % 2:
        raise CheckpointError(
            f"config.json: head_dim is {config.head_dim}; halves of a head are rotated, so it is even"
        )
    if config.num_heads % config.num_kv_heads:
        raise CheckpointError(
            f"config.json: {config.num_heads} heads cannot share {config.num_kv_heads} key/value heads"
        )
    special = config.special
    roles = {"mask": (special.mask,), "eos": special.ends, "pad": (special.pad,), "expand": (special.expand,)}
    for role, token_ids in roles.items():
        for token_id in token_ids:
            if token_id is not None and not 0 <= token_id < config.vocab_size:
                raise CheckpointError(f"config.json: the {role} token {token_id} is outside the vocabulary")
