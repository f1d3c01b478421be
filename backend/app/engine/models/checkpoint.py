"""A checkpoint folder to a model: `config.json` and safetensors, single or sharded, as published.

Weights are mapped into memory, not read: a tensor that already has the right type and device *is* the mapped file,
so a checkpoint needs its size once. Replace the files of a loaded checkpoint by renaming new ones into place, never by
writing into them. No code from the folder runs, and nothing but JSON and safetensors is opened.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from app.engine.config import QuantizationName
from app.engine.devices import is_out_of_memory
from app.engine.errors import CheckpointError, OutOfDeviceMemory
from app.engine.models.base import FamilyModel
from app.engine.models.quantisation import QuantisedLinear, weights_to_quantise
from app.engine.models.registry import build_model

_MAX_JSON_BYTES = 64 * 1024**2
_INDEX_NAME = "model.safetensors.index.json"


def load_model(
    folder: Path, device: torch.device, dtype: torch.dtype, quantization: QuantizationName = "none"
) -> FamilyModel:
    """The checkpoint's model on `device`, ready to run. Weights are quantised one by one, as they are read.

    Raises:
        CheckpointError: a file is missing or damaged, the family unknown, or a tensor missing, surplus, misshapen.
        OutOfDeviceMemory: the weights do not fit.
    """
    with torch.device("meta"):
        model = build_model(read_json(folder / "config.json"))
    expected = {name: tuple(weight.shape) for name, weight in model.named_parameters()}
    to_quantise = weights_to_quantise(model) if quantization != "none" else {}
    try:
        for name, weight in _checked_tensors(folder, expected):
            if name in to_quantise:
                quantised = QuantisedLinear(to_quantise[name], weight.to(device), quantization)
                model.set_submodule(name.removesuffix(".weight"), quantised)
            else:
                _place(model, name, weight.to(device=device, dtype=dtype))
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfDeviceMemory(f"the weights in {folder.name} do not fit {device}: {error}") from error
    return model.requires_grad_(False)


def stored_bytes(folder: Path) -> int:
    """Size of the weights as they are stored; about what they take on a device that computes in their type."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a checkpoint folder.

    Raises:
        CheckpointError: missing, too large, or no JSON object.
    """
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise CheckpointError(f"{path.name} is larger than {_MAX_JSON_BYTES} bytes")
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing; a checkpoint folder needs it") from error
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path.name} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path.name} holds no JSON object")
    return content


def _checked_tensors(folder: Path, expected: dict[str, tuple[int, ...]]) -> Iterator[tuple[str, Tensor]]:
    """Every expected tensor once, file by file. All names and shapes are checked before the first one is given."""
    files = _weight_files(folder)
    homes: dict[str, Path] = {}
    for path in files:
        for name, shape in _shapes(path).items():
            _check_tensor(name, shape, expected, path, homes)
            homes[name] = path
    missing = sorted(expected.keys() - homes.keys())
    if missing:
        raise CheckpointError(f"{folder.name} lacks {len(missing)} tensors, the first is {missing[0]!r}")
    for path in files:
        with _open(path) as file:
            for name in file.keys():  # noqa: SIM118 - not a dict
                yield name, file.get_tensor(name)


def _check_tensor(
    name: str, shape: tuple[int, ...], expected: dict[str, tuple[int, ...]], path: Path, homes: dict[str, Path]
) -> None:
    if name not in expected:
        raise CheckpointError(f"{path.name} holds {name!r}, which this model does not have")
    if shape != expected[name]:
        raise CheckpointError(f"{path.name}: {name!r} has shape {shape}, the config wants {expected[name]}")
    if name in homes:
        raise CheckpointError(f"{name!r} stands in {homes[name].name} and again in {path.name}")


def _weight_files(folder: Path) -> list[Path]:
    if (folder / _INDEX_NAME).exists():
        names = read_json(folder / _INDEX_NAME).get("weight_map")
        if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
            raise CheckpointError(f"{_INDEX_NAME} has no weight_map from tensor names to file names")
        return [_inside(folder, name) for name in sorted(set(names.values()))]
    return [_inside(folder, "model.safetensors")]


def _inside(folder: Path, name: str) -> Path:
    if Path(name).name != name or not name.endswith(".safetensors"):
        raise CheckpointError(f"{_INDEX_NAME} names {name!r}; only .safetensors files of the same folder are opened")
    path = folder / name
    if len(name) > 255 or not path.is_file():
        raise CheckpointError(f"{name[:255]} is missing in {folder}; weights are read from safetensors files only")
    return path


def _open(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt", device="cpu")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path.name} is no intact safetensors file: {error}") from error


_FLOATING = {"F64", "F32", "F16", "BF16"}


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    with _open(path) as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        for name, view in slices.items():
            if view.get_dtype() not in _FLOATING:
                raise CheckpointError(f"{path.name}: {name!r} holds {view.get_dtype()}, not floating point numbers")
        return {name: tuple(view.get_shape()) for name, view in slices.items()}


def _place(model: nn.Module, name: str, weight: Tensor) -> None:
    owner_name, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(owner_name), attribute, nn.Parameter(weight, requires_grad=False))
