"""A PEFT LoRA folder to an adapter: `adapter_config.json` and `adapter_model.safetensors`, as PEFT saves them.

Every name and shape is checked against the base before a number is read. The numbers are copied into memory, for
whoever trains on writes over the file. No code from the folder runs, and nothing but JSON and safetensors is opened.
"""

from __future__ import annotations

import reprlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from app.engine.families.adapter_config import CONFIG_NAME, AdapterConfig, parse_adapter_config
from app.engine.families.adapter_files import WEIGHTS_NAME, adapter_weights_file
from app.engine.families.checkpoint_files import open_weights, read_json
from app.engine.families.registry import family_named
from app.engine.interface.errors import CheckpointError
from app.engine.models.adapters import Adapter, Change, head_name
from app.engine.models.base import ModelConfig
from app.engine.models.quantisation import weights_to_quantise

_PREFIX = "base_model.model."
_DOWN, _UP = ".lora_A.weight", ".lora_B.weight"
_FLOATING = {"F64", "F32", "F16", "BF16"}
_FOREIGN = {
    "lora_embedding": "changes of embeddings are not supported",
    "lora_magnitude_vector": "DoRA is not supported",
    "lora_B.bias": "lora_bias is not supported",
}
"""Parts of tensors' names, and what they would be."""


def load_adapter(folder: Path, base: ModelConfig, dtype: torch.dtype) -> Adapter:
    """The adapter in a folder, in main memory, for a base with this config that computes in `dtype`.

    Raises:
        CheckpointError: a file is missing, damaged or a pickle; the adapter is of a kind that is not supported; or its
            tensors are not those of this base.
    """
    plan = check_adapter(folder, base)
    with open_weights(adapter_weights_file(folder)) as file:
        return Adapter({name: _change(file, name, plan.config.scale_of(name), dtype) for name in plan.changed})


@dataclass(frozen=True, slots=True)
class AdapterPlan:
    """The result of looking at an adapter's files."""

    config: AdapterConfig
    changed: tuple[str, ...]
    """Names of the modules that it changes."""


def check_adapter(folder: Path, base: ModelConfig) -> AdapterPlan:
    """Checks all of an adapter but its numbers. Raises as `load_adapter` does."""
    config = parse_adapter_config(read_json(folder / CONFIG_NAME))
    projections = _Projections.of(base)
    targets = frozenset(projections.named_by(config))
    with open_weights(adapter_weights_file(folder)) as file:
        stored = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        for name, tensor in stored.items():
            _check_tensor(name, tensor, config, projections)
    changed = dict.fromkeys(map(_module_of, stored))
    if config.targets is not None:
        _check_agreement(changed, targets, config, projections)
    _check_is_whole(dict.fromkeys([*changed, *targets]), stored, config, projections)
    return AdapterPlan(config, tuple(changed))


@dataclass(frozen=True, slots=True)
class _Projections:
    """The modules of a base that an adapter may change."""

    shapes: Mapping[str, tuple[int, int]]
    """[O, I] by name."""
    head: str
    base: ModelConfig

    @classmethod
    def of(cls, base: ModelConfig) -> _Projections:
        with torch.device("meta"):
            model = family_named(base.family).build(base)
        linears = weights_to_quantise(model)
        shapes = {name.removesuffix(".weight"): (each.out_features, each.in_features) for name, each in linears.items()}
        head = head_name(model)
        return cls({**shapes, head: (base.vocab_size, base.width)}, head, base)

    def named_by(self, config: AdapterConfig) -> Iterator[str]:
        """Names of the modules that a config says are changed. A head that is the embedding once more may be changed,
        and need not."""
        for name in self.shapes:
            is_left_out = name == self.head and (self.base.tied or config.takes_all_projections)
            if config.changes(name) and not is_left_out:
                yield name

    def expected(self, name: str, config: AdapterConfig) -> tuple[int, int]:
        """The shape of a tensor, by its name in the file."""
        num_outputs, num_inputs = self.shapes[_module_of(name)]
        rank = config.rank_of(_module_of(name))
        return (rank, num_inputs) if name.endswith(_DOWN) else (num_outputs, rank)

    def __str__(self) -> str:
        ends = dict.fromkeys(name.rpartition(".")[2] for name in self.shapes)
        return f"a {self.base.family} model of {self.base.num_layers} layers has {', '.join(ends)}"


def _module_of(name: str) -> str:
    """base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight -> model.layers.0.self_attn.q_proj"""
    return name.removeprefix(_PREFIX).removesuffix(_DOWN).removesuffix(_UP)


def _check_tensor(name: str, stored: Any, config: AdapterConfig, projections: _Projections) -> None:
    said = f"{WEIGHTS_NAME} holds {name!r}"
    for part, why in _FOREIGN.items():
        if part in name:
            raise CheckpointError(f"{said}: {why}")
    if not name.startswith(_PREFIX) or not name.endswith((_DOWN, _UP)):
        raise CheckpointError(f"{said}; expected are names like {_PREFIX}model.….q_proj{_DOWN}, and {_UP} for each")
    if _module_of(name) not in projections.shapes:
        raise CheckpointError(
            f"{said}, and its base has no projection {_module_of(name)!r}; {projections}; is it an adapter of another "
            "base?"
        )
    if stored.get_dtype() not in _FLOATING:
        raise CheckpointError(f"{WEIGHTS_NAME}: {name!r} holds {stored.get_dtype()}, not floating point numbers")
    shape, expected = tuple(stored.get_shape()), projections.expected(name, config)
    if shape != expected:
        raise CheckpointError(
            f"{WEIGHTS_NAME}: {name!r} has shape {shape}; by the base and the rank in {CONFIG_NAME} it must be "
            f"{expected}; is it an adapter of another base?"
        )


def _check_agreement(
    changed: Iterable[str], targets: Collection[str], config: AdapterConfig, projections: _Projections
) -> None:
    """Raises CheckpointError where the config names nothing, or not all that the file changes."""
    if not targets:
        wanted = reprlib.repr(config.targets)
        raise CheckpointError(f"{CONFIG_NAME}: target_modules={wanted} names no projection of the base; {projections}")
    surplus = [name for name in changed if name not in targets and name != projections.head]
    if surplus:
        raise CheckpointError(
            f"{WEIGHTS_NAME} holds {_names_of(surplus[0])[0]!r}, and target_modules of {CONFIG_NAME} does not name "
            "that module; one of the two files is of another adapter"
        )


def _check_is_whole(
    modules: Iterable[str], stored: Collection[str], config: AdapterConfig, projections: _Projections
) -> None:
    missing = [name for module in modules for name in _names_of(module) if name not in stored]
    if missing or not stored:
        first = missing[0] if missing else f"any tensor {_DOWN}"
        expected = f" of shape {projections.expected(missing[0], config)}" if missing else ""
        raise CheckpointError(
            f"{WEIGHTS_NAME} lacks {max(len(missing), 1)} tensors, the first is {first!r}{expected}; by {CONFIG_NAME} "
            "that module of the base is changed"
        )


def _names_of(module: str) -> tuple[str, str]:
    return f"{_PREFIX}{module}{_DOWN}", f"{_PREFIX}{module}{_UP}"


def _change(file: Any, module: str, scale: float, dtype: torch.dtype) -> Change:
    """The two matrices, copied: a mapped file that is written over would change or end the server."""
    down, up = (file.get_tensor(name) for name in _names_of(module))
    return Change(down.to(dtype, copy=True), (up.float() * scale).to(dtype))
