from __future__ import annotations

import platform
from pathlib import Path

import pytest
import torch
from torch import Tensor

from app.engine.families.build import build_model
from app.engine.families.checkpoint import load_model
from app.engine.families.registry import read_config
from app.engine.families.weight_sizes import WeightSizes, stored_types, weight_sizes
from app.engine.interface.config import QuantizationName
from app.engine.models.base import FamilyModel
from app.engine.passes.runner import ModelRunner
from tests.unit.engine.checkpoints import CHECKPOINTS

CPU = torch.device("cpu")


def sizes_of(folder: Path, dtype: torch.dtype, quantization: QuantizationName = "none") -> WeightSizes:
    with torch.device("meta"):
        model = build_model(read_config(folder))
    return weight_sizes(model, CPU, dtype, quantization, stored_types(folder))


def mapped_bytes(model: FamilyModel) -> int:
    """Bytes of the weights that lie in a mapped file, by what the system says of their addresses."""
    lines = [line.split() for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(".safetensors")]
    spans = [tuple(int(end, 16) for end in line[0].split("-")) for line in lines]

    def is_mapped(weight: Tensor) -> bool:
        return any(start <= weight.data_ptr() < end for start, end in spans)

    weights = [*model.parameters(), *model.buffers()]
    return sum(weight.numel() * weight.element_size() for weight in weights if is_mapped(weight))


@pytest.mark.skipif(platform.system() != "Linux", reason="asks Linux where a mapping lies")
@pytest.mark.parametrize("quantization", ["none", "int8"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_weights_are_held_or_mapped_as_they_are_once_they_are_loaded(
    name: str, dtype: torch.dtype, quantization: QuantizationName
) -> None:
    folder = CHECKPOINTS[name]
    sizes = sizes_of(folder, dtype, quantization)
    model = load_model(folder, CPU, dtype, quantization)
    assert sizes.mapped == mapped_bytes(model)
    assert sizes.all == ModelRunner(model, cpu_runtime="torch").memory_bytes


def test_weights_whose_files_have_their_type_are_mapped() -> None:
    (stored,) = set(stored_types(CHECKPOINTS["embedded-llada"]).values())
    (other,) = {torch.float32, torch.bfloat16} - {stored}
    assert sizes_of(CHECKPOINTS["embedded-llada"], stored).held == 0
    assert sizes_of(CHECKPOINTS["embedded-llada"], other).mapped == 0


def test_quantising_takes_the_copies_of_one_projection_at_a_time() -> None:
    folder = CHECKPOINTS["llada-tiny"]
    sizes = sizes_of(folder, torch.float32, "int8")
    largest = max(weight.numel() for weight in load_model(folder, CPU, torch.float32).parameters())
    assert 0 < sizes.loading <= largest < sizes_of(folder, torch.float32, "nf4").loading
    assert sizes_of(folder, torch.float32).loading == 0
