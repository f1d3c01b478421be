"""PEFT LoRA folders that are written for a test, and plain arithmetic to merge them into a model's weights."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from app.engine.models.base import FamilyModel
from app.engine.models.quantisation import weights_to_quantise

PREFIX = "base_model.model."


def projections_of(model: FamilyModel) -> dict[str, tuple[int, int]]:
    """Outputs and inputs of each projection, by the name of its module."""
    return {
        name.removesuffix(".weight"): (each.out_features, each.in_features)
        for name, each in weights_to_quantise(model).items()
    }


def random_tensors(
    shapes: Mapping[str, tuple[int, int]], *, rank: int = 4, size: float = 0.1, seed: int = 0
) -> dict[str, Tensor]:
    """Tensors under PEFT's names; unlike those of a new adapter, B is not 0."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, (num_outputs, num_inputs) in shapes.items():
        for kind, shape in (("A", (rank, num_inputs)), ("B", (num_outputs, rank))):
            tensors[f"{PREFIX}{name}.lora_{kind}.weight"] = torch.randn(shape, generator=generator) * size
    return tensors


def write_adapter(folder: Path, tensors: Mapping[str, Tensor], **settings: Any) -> Path:
    """An adapter folder; settings that are not given follow from the tensors."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {name.removeprefix(PREFIX).rpartition(".lora_")[0] for name in tensors}
    rank = next((len(matrix) for name, matrix in tensors.items() if ".lora_A." in name), 4)
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "target_modules": sorted(names), **settings}
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(dict(tensors), folder / "adapter_model.safetensors")
    return folder


def write_whole_adapter(folder: Path, model: FamilyModel, *, seed: int = 0, **settings: Any) -> Path:
    """An adapter of all projections of a model."""
    return write_adapter(folder, random_tensors(projections_of(model), seed=seed), **settings)


def merged(model: FamilyModel, folder: Path) -> FamilyModel:
    """A copy of the model whose weights hold an adapter of one rank and scale: W + scale · B·A."""
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    scale = config["lora_alpha"] / (math.sqrt(config["r"]) if config.get("use_rslora") else config["r"])
    tensors = load_file(folder / "adapter_model.safetensors")
    changed = copy.deepcopy(model)
    for name in (name for name in tensors if name.endswith(".lora_A.weight")):
        weight = changed.get_parameter(name.removeprefix(PREFIX).replace(".lora_A.weight", ".weight"))
        product = tensors[name.replace("lora_A", "lora_B")].double() @ tensors[name].double()
        weight.data = (weight.double() + scale * product).to(weight.dtype)
    return changed
