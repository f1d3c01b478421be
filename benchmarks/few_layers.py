"""Checkpoints of a published width with few layers and random weights, to measure what one layer costs.

Each layer is a file of its own, and folders of different depths share the files by hard links: two depths take the disk
and the page cache of the deeper one. The numbers repeat a short random pattern, for what they cost to compute does not
depend on them. There is no tokenizer.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from app.engine.families.build import build_model

_LAYER = re.compile(r"\.(\d+)\.")
_DEPTH_KEYS = ("n_layers", "num_hidden_layers")
PATTERN = 2**20 - 3
"""Numbers that are drawn; no multiple of a width, so that rows differ."""


def with_depth(published: dict[str, Any], depth: int) -> dict[str, Any]:
    """The config of a model with so many layers."""
    return {**published, **{key: depth for key in _DEPTH_KEYS if key in published}}


def depth_of(published: dict[str, Any]) -> int:
    """The number of layers that a config asks for."""
    return next(int(published[key]) for key in _DEPTH_KEYS if key in published)


def write_depths(folder: Path, published: dict[str, Any], depths: Sequence[int]) -> dict[int, Path]:
    """Writes a checkpoint folder for each depth, in bfloat16; gives them by their depths."""
    files = _write_files(folder, with_depth(published, max(depths)))
    folders = {depth: folder / f"{depth}-layers" for depth in depths}
    for depth, linked in folders.items():
        _link(linked, {layer: names for layer, names in files.items() if layer < depth})
        (linked / "config.json").write_text(json.dumps(with_depth(published, depth)) + "\n")
    return folders


_REST = -1
"""The layer of what is in none."""


def _write_files(folder: Path, config: dict[str, Any]) -> dict[int, list[str]]:
    """Writes a file for each layer; gives the names of their tensors."""
    folder.mkdir(parents=True, exist_ok=True)
    shapes: dict[int, dict[str, torch.Size]] = defaultdict(dict)
    with torch.device("meta"):
        for name, weight in build_model(config).named_parameters():
            found = _LAYER.search(name)
            shapes[int(found[1]) if found else _REST][name] = weight.shape
    pattern = random_pattern()
    for layer, tensors in shapes.items():
        save_file(dict(_filled(tensors, pattern)), folder / _file_name(layer))
    return {layer: list(tensors) for layer, tensors in shapes.items()}


def _file_name(layer: int) -> str:
    return "rest.safetensors" if layer == _REST else f"layer-{layer}.safetensors"


def random_pattern() -> Tensor:
    """The numbers that fill all matrices, in bfloat16."""
    return (torch.randn(PATTERN, generator=torch.Generator().manual_seed(0)) * 0.02).bfloat16()


def _filled(shapes: dict[str, torch.Size], pattern: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Matrices of the pattern, norms of ones and biases of zeros."""
    for name, shape in shapes.items():
        if len(shape) == 1:
            yield name, torch.full(shape, 0.0 if name.endswith("bias") else 1.0, dtype=torch.bfloat16)
        else:
            yield name, pattern.repeat(-(-shape.numel() // len(pattern)))[: shape.numel()].clone().view(shape)


def _link(folder: Path, files: dict[int, list[str]]) -> None:
    """A folder with some of the files that lie beside it."""
    folder.mkdir()
    for layer in files:
        (folder / _file_name(layer)).hardlink_to(folder.parent / _file_name(layer))
    homes = {name: _file_name(layer) for layer, names in files.items() for name in names}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": homes}) + "\n")
