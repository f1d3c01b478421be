"""A checkpoint to a model: a folder with `config.json` and safetensors, single or sharded, as published, or a GGUF.

Weights are mapped into memory, not read: a tensor that already has the right type and device *is* the mapped file,
so a checkpoint needs its size once. Replace the files of a loaded checkpoint by renaming new ones into place, never by
writing into them. No code from the folder runs, and nothing but JSON, safetensors and GGUF is opened.
"""

from __future__ import annotations

import reprlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from app.engine.device import allocator
from app.engine.device.devices import is_out_of_memory
from app.engine.families.build import build_model
from app.engine.families.checkpoint_files import weight_files
from app.engine.families.load_progress import reported
from app.engine.families.open_weights import open_weights
from app.engine.families.registry import read_config
from app.engine.interface.config import QuantizationName
from app.engine.interface.errors import CheckpointError, OutOfDeviceMemory
from app.engine.models.base import FamilyModel
from app.engine.models.quantisation import QuantisedLinear, num_weights, weights_to_quantise
from app.formats.gguf import QUANTISED_TYPES

GIVE_BACK_EVERY = 32
"""Quantised projections after which freed memory goes back to the system: of the copies that each takes, glibc keeps
4 MB, which were a fifth of the weights of a checkpoint of 1.7B."""


def load_model(
    folder: Path, device: torch.device, dtype: torch.dtype, quantization: QuantizationName = "none"
) -> FamilyModel:
    """The checkpoint's model on `device`, ready to run. Weights are quantised one by one, as they are read.

    Raises:
        CheckpointError: a file is missing or damaged, the family unknown, or a tensor missing, surplus, misshapen.
        OutOfDeviceMemory: the weights do not fit.
    """
    raw = read_config(folder)
    _refuse_quantised(raw)
    with torch.device("meta"):
        model = build_model(raw)
    to_quantise = weights_to_quantise(model) if quantization != "none" else {}
    tensors = _checked_tensors(folder, _Expected.of(model), device)
    num_quantised = 0
    try:
        for name, weight in reported(tensors, folder.name, stored_bytes(folder), num_weights(model)):
            if name in to_quantise:
                quantised = QuantisedLinear(to_quantise[name], weight.to(device), quantization)
                model.set_submodule(name.removesuffix(".weight"), quantised)
                if weight.device.type == "cpu":  # nobody needs the numbers of the file any more
                    allocator.drop_pages(weight.data_ptr(), weight.nbytes)
                num_quantised += 1
                if num_quantised % GIVE_BACK_EVERY == 0:
                    allocator.give_back()
            else:
                _place(model, name, weight.to(device=device, dtype=dtype))
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfDeviceMemory(f"the weights in {folder.name} do not fit {device}: {error}") from error
    return model.requires_grad_(False)


def stored_bytes(folder: Path) -> int:
    """Size of the weights as they are stored; about what they take on a device that computes in their type.

    Raises:
        CheckpointError: a weight file is missing.
    """
    return sum(path.stat().st_size for path in weight_files(folder))


def _refuse_quantised(raw: Mapping[str, Any]) -> None:
    for name in _QUANTISATIONS:
        if settings := raw.get(name):
            method = settings.get("quant_method") or settings if isinstance(settings, dict) else settings
            raise CheckpointError(f"config.json: {name} asks for {reprlib.repr(method)}: {_NOT_READ}")


@dataclass(frozen=True, slots=True)
class _Expected:
    """The tensors that a model has."""

    shapes: dict[str, tuple[int, ...]]
    embedding: str
    head: str
    """May stand in a file although it is the embedding: beside it, then the two must be equal, or in its place."""

    @classmethod
    def of(cls, model: FamilyModel) -> _Expected:
        shapes = {name: tuple(weight.shape) for name, weight in model.named_parameters()}
        return cls(shapes, model.EMBEDDING_NAME, model.HEAD_NAME)

    def shape_of(self, name: str) -> tuple[int, ...] | None:
        return self.shapes.get(name) or (self.shapes[self.embedding] if name == self.head else None)

    def named_in(self, stored: Collection[str]) -> dict[str, str]:
        """Gives the model's name of each stored tensor that it takes. Of a tied pair `safetensors.torch.save_model`
        keeps the first by the alphabet, which is the head."""
        names = {name: name for name in stored if name in self.shapes}
        if self.head in stored and self.head not in self.shapes and self.embedding not in stored:
            names[self.head] = self.embedding
        return names


# Buffers that older releases saved; they follow from the config, and are computed from it.
_DERIVED = ("inv_freq", "original_inv_freq", "cos_cached", "sin_cached", "position_ids")


def _checked_tensors(folder: Path, expected: _Expected, device: torch.device) -> Iterator[tuple[str, Tensor]]:
    """Every expected tensor once, file by file; without its numbers, where the device holds none. All names and shapes
    are checked before the first one is given."""
    homes = _homes(folder, expected)
    names = expected.named_in(homes)
    missing = sorted(expected.shapes.keys() - {*names.values()})
    if missing:
        way_out = "; if the head is the embedding, the config must say so" if missing == [expected.head] else ""
        raise CheckpointError(f"{folder.name} lacks {len(missing)} tensors, the first is {missing[0]!r}{way_out}")
    if expected.head in homes.keys() - names.keys():
        _check_head(expected, homes)
    for path in dict.fromkeys(homes.values()):
        with open_weights(path) as file:
            for stored in file.keys():  # noqa: SIM118 - not a dict
                if name := names.get(stored):
                    is_empty = device.type == "meta"
                    shape = expected.shapes[name]
                    yield name, torch.empty(shape, device=device) if is_empty else file.get_tensor(stored)


def _homes(folder: Path, expected: _Expected) -> dict[str, Path]:
    """Gives the file that each tensor is read from."""
    homes: dict[str, Path] = {}
    for path in weight_files(folder):
        with open_weights(path) as file:
            for name in file.keys():  # noqa: SIM118 - not a dict
                if name.rpartition(".")[2] not in _DERIVED:
                    _check_tensor(name, file.get_slice(name), expected, path, homes)
                    homes[name] = path
    return homes


def _check_tensor(name: str, stored: Any, expected: _Expected, path: Path, homes: dict[str, Path]) -> None:
    shape, wanted = tuple(stored.get_shape()), expected.shape_of(name)
    _check_type(name, stored.get_dtype(), path)
    if wanted is None:
        said = f"{path.name} holds {name!r}"
        raise CheckpointError(
            f"{said}: {_NOT_READ}" if name.endswith(_SCALES) else f"{said}, which this model does not have"
        )
    if shape != wanted:
        raise CheckpointError(f"{path.name}: {name!r} has shape {shape}, the config wants {wanted}")
    if name in homes:
        raise CheckpointError(f"{name!r} stands in {homes[name].name} and again in {path.name}")


_FLOATING = {"F64", "F32", "F16", "BF16"} | QUANTISED_TYPES
_NARROW = ("F8_", "F6_", "F4")
_SCALES = ("_scale", "_scale_inv", ".scales", ".biases", ".qzeros", ".absmax")
# MLX has a name of its own, and stores biases beside scales.
_QUANTISATIONS = ("quantization_config", "quantization")
_NOT_READ = (
    "quantised weights (float8, int8, int4) are not supported; take the checkpoint in bfloat16, and make it smaller "
    "with DIFFUSION_QUANTIZATION"
)


def _check_type(name: str, kind: str, path: Path) -> None:
    if kind.startswith(_NARROW):
        raise CheckpointError(f"{path.name}: {name!r} holds {kind}: {_NOT_READ}")
    if kind not in _FLOATING:
        raise CheckpointError(f"{path.name}: {name!r} holds {kind}, not floating point numbers; {_NOT_READ}")


def _check_head(expected: _Expected, homes: dict[str, Path]) -> None:
    """Raises CheckpointError where a tied head is stored, and is another matrix than the embedding."""
    home = homes[expected.head]
    with open_weights(home) as file, open_weights(homes[expected.embedding]) as other:
        head, embedding = file.get_tensor(expected.head), other.get_tensor(expected.embedding)
    # Each may have been stored in a type of its own; what counts is the numbers.
    if not torch.equal(head, embedding.to(head.dtype)):
        raise CheckpointError(
            f"by config.json the head is the embedding, but {home.name} holds {expected.head!r}, which differs from "
            f"{expected.embedding!r}; set tie_word_embeddings (LLaDA: weight_tying, which is true where it is missing) "
            "to false, or remove that head"
        )


def _place(model: nn.Module, name: str, weight: Tensor) -> None:
    owner_name, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(owner_name), attribute, nn.Parameter(weight, requires_grad=False))
