"""Which family a checkpoint belongs to: `config.json` -> config and module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from app.engine.canvas.canvas import Canvas
from app.engine.canvas.special import SpecialIds
from app.engine.decoding.block import BlockSampler
from app.engine.decoding.step import Sampler
from app.engine.decoding.timestep import TimestepSampler
from app.engine.decoding.variable_length import VariableLengthSampler
from app.engine.interface.errors import CheckpointError
from app.engine.interface.params import DecodingParams
from app.engine.models import dream, llada
from app.engine.models.base import FamilyModel, ModelConfig


@dataclass(frozen=True, slots=True)
class Family:
    """How one family's checkpoints are read and built."""

    parse_config: Callable[[Mapping[str, Any]], ModelConfig]
    build: Callable[[ModelConfig], FamilyModel]


_LLADA = Family(llada.parse_config, llada.LLaDA)
_DREAM = Family(dream.parse_config, dream.Dream)

# `model_type` and names in `architectures`, in lower case: the releases do not agree on the case.
_FAMILIES: dict[str, Family] = {
    "llada": _LLADA,
    "lladamodellm": _LLADA,
    "dream": _DREAM,
    "dreammodel": _DREAM,
    "dreamon": _DREAM,
    "dreamonmodel": _DREAM,
}


def family_of(raw_config: Mapping[str, Any]) -> Family:
    """The family that `model_type` or `architectures` names.

    Raises:
        CheckpointError: neither names a family that this engine runs.
    """
    architectures = raw_config.get("architectures") or []
    if not isinstance(architectures, list):
        raise CheckpointError(f"config.json: architectures={architectures!r} must be a list of names")
    names = [raw_config.get("model_type"), *architectures]
    for name in names:
        family = _FAMILIES.get(str(name).lower())
        if family is not None:
            return family
    raise CheckpointError(
        f"config.json names no known family: model_type={raw_config.get('model_type')!r}, "
        f"architectures={raw_config.get('architectures')!r}; known model types are llada, Dream and DreamOn"
    )


def build_model(raw_config: Mapping[str, Any]) -> FamilyModel:
    """The module for a `config.json`, on the current default device, with the family's initial weights.

    Raises:
        CheckpointError: unknown family, a missing or senseless value, or an unsupported variant.
    """
    family = family_of(raw_config)
    config = family.parse_config(raw_config)
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
        "MLP width": config.mlp_width,
        "context length": config.context_length,
    }
    for name, size in sizes.items():
        if size < 1:
            raise CheckpointError(f"config.json: {name} is {size}; it must be at least 1")
    if config.width % config.num_heads or config.head_dim % 2:
        raise CheckpointError(f"config.json: width {config.width} does not split into {config.num_heads} even heads")
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


_SAMPLERS: dict[str, type[BlockSampler | TimestepSampler | VariableLengthSampler]] = {
    "llada": BlockSampler,
    "dream": TimestepSampler,
    "dreamon": VariableLengthSampler,
}


def algorithms(family: str) -> tuple[str, ...]:
    """What `DecodingParams.algorithm` may be for a family; the first is the default."""
    return _SAMPLERS[family].ALGORITHMS


def build_sampler(family: str, canvas: Canvas, params: DecodingParams, special: SpecialIds) -> Sampler:
    """The family's sampler, at the start of its schedule."""
    return _SAMPLERS[family](canvas, params, special)
