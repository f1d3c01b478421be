"""Adapters that PEFT makes, against the weights that PEFT merges. Skipped where PEFT is not installed."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from app.engine.families.adapter import load_adapter
from app.engine.models.base import FamilyModel
from app.engine.passes.runner import ModelRunner
from app.engine.passes.work import SequenceInput
from tests.unit.engine.checkpoints import small_dream, small_llada

peft = pytest.importorskip("peft")

ATTENTION = ["q_proj", "k_proj", "v_proj"]
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "a list": {"target_modules": ATTENTION},
    "a regex": {"target_modules": r".*\.(q|v|up)_proj"},
    "all linear": {"target_modules": "all-linear"},
    "other ranks and scales": {
        "target_modules": [*ATTENTION, "up_proj"],
        "rank_pattern": {"k_proj": 2, "0.*up_proj": 5},
        "alpha_pattern": {"q_proj": 1, r"^model.*1.*v_proj": 32},
    },
    "the root of the rank": {
        "target_modules": ATTENTION,
        "use_rslora": True,
        "rank_pattern": {"v_proj": 3},
        "lora_alpha": 7,
    },
    "one layer": {"target_modules": ATTENTION, "layers_to_transform": 1},
    "layers of a list": {
        "target_modules": ATTENTION,
        "layers_to_transform": [0],
        "layers_pattern": ["layers", "blocks"],
    },
    "without some": {"target_modules": ATTENTION, "exclude_modules": ["k_proj"]},
    "fan in, fan out": {"target_modules": ATTENTION, "fan_in_fan_out": True},
    "down projections and the head": {"target_modules": ["ff_out", "down_proj", "lm_head"]},
}
FAMILIES = {
    "llada": lambda: small_llada(n_layers=2, d_model=16, vocab_size=40, embedding_size=40),
    "dream": lambda: small_dream(num_hidden_layers=2, hidden_size=16, vocab_size=40),
}


@pytest.fixture(autouse=True)
def _warnings_of_peft() -> Iterator[None]:
    """It warns of what it finds unusual in a network that no library publishes."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def saved_and_merged(model: FamilyModel, folder: Path, settings: Mapping[str, Any]) -> FamilyModel:
    """Writes an adapter that is not 0 by PEFT, and gives a copy of the model with it merged."""
    adapted = peft.get_peft_model(
        copy.deepcopy(model), peft.LoraConfig(**{"r": 4, "lora_alpha": 8, "init_lora_weights": False, **settings})
    )
    adapted.save_pretrained(folder)
    return cast(FamilyModel, adapted.merge_and_unload())


def all_logits(runner: ModelRunner, **more: Any) -> torch.Tensor:
    with torch.inference_mode():
        return runner.logits([SequenceInput(range(9), range(9), **more), SequenceInput(range(20, 36), [0, 15], **more)])


@pytest.mark.parametrize("settings", [*SETTINGS])
@pytest.mark.parametrize("family", [*FAMILIES])
def test_an_adapter_of_peft_gives_what_its_merged_weights_give(family: str, settings: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = FAMILIES[family]()
    expected = all_logits(ModelRunner(saved_and_merged(model, tmp_path, SETTINGS[settings]), cpu_runtime="torch"))
    adapter = load_adapter(tmp_path, model.config, torch.float32)
    runner = ModelRunner(model, cpu_runtime="torch")
    adapted = all_logits(runner, adapter=adapter)
    assert not torch.allclose(adapted, all_logits(runner), atol=1e-3)
    torch.testing.assert_close(adapted, expected, atol=1e-5, rtol=1e-4)
