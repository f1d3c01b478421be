from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch

from app.engine.decoding.commit.registry import RULES
from app.engine.families.base import COMMON, Family
from app.engine.families.checkpoint import load_model
from app.engine.families.dream import DREAM
from app.engine.families.dreamon import DREAMON
from app.engine.families.llada import LLADA
from app.engine.families.registry import families, family_of, register
from app.engine.families.sdar import SDAR
from app.engine.families.unsupported import why_unsupported
from app.engine.interface.errors import CheckpointError
from app.engine.interface.params import DecodingParams
from app.engine.models import llada, qwen
from tests.unit.engine.checkpoints import CHECKPOINTS, DREAM_CONFIG

RULE_PARAMETERS = {rule.PARAMETER for rule in RULES}


@pytest.mark.parametrize(
    ("name", "module"),
    [
        *[(name, llada.LLaDA) for name in ("llada", "LLaDA", "LLADA")],
        *[(name, qwen.Qwen) for name in ("Dream", "dream", "DreamOn", "dreamon", "DREAMON")],
    ],
)
def test_model_types_in_any_case(name: str, module: type) -> None:
    assert family_of({"model_type": name}).build is module


@pytest.mark.parametrize(
    ("name", "module"),
    [
        *[(name, llada.LLaDA) for name in ("LLaDAModelLM", "lladamodellm")],
        *[(name, qwen.Qwen) for name in ("DreamModel", "dreammodel", "DreamOnModel")],
    ],
)
@pytest.mark.parametrize("model_type", [None, "custom"])
def test_architectures_in_any_case(name: str, module: type, model_type: str | None) -> None:
    assert family_of({"model_type": model_type, "architectures": ["Unknown", name]}).build is module


@pytest.mark.parametrize(
    "raw",
    [{}, {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}, {"model_type": 5, "architectures": None}],
)
def test_an_unknown_family_is_named(raw: Mapping[str, Any]) -> None:
    with pytest.raises(CheckpointError, match=f"model_type={raw.get('model_type')!r}.*known model types are"):
        family_of(raw)


def test_a_dream_with_blocks_is_read_from_the_files_of_an_sdar(tmp_path: Path) -> None:
    sdar = CHECKPOINTS["llada-tiny"].parent / "block" / "sdar-tiny"
    for file in sdar.glob("*"):
        shutil.copy(file, tmp_path)
    raw = json.loads((sdar / "config.json").read_text())
    (tmp_path / "config.json").write_text(
        json.dumps({**raw, "model_type": "Dream", "architectures": ["DreamForCausalLM"]})
    )
    renamed, original = (load_model(folder, torch.device("cpu"), torch.float32) for folder in (tmp_path, sdar))
    assert renamed.config == original.config


def test_a_dream_with_blocks_is_block_causal() -> None:
    reasoner = {**DREAM_CONFIG, "architectures": ["DreamForCausalLM"], "block_size": 32}
    assert family_of(reasoner) is SDAR
    assert family_of({**reasoner, "block_size": None}) is DREAM
    config = SDAR.config_of({**reasoner, "head_dim": 4})
    assert (config.block_length, config.qk_norms, config.qkv_biases, config.prediction_shift) == (32, True, False, 0)


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (
            {"model_type": "llada2_moe", "architectures": ["LLaDA2MoeModelLM"]},
            "config.json says llada2_moe: LLaDA2 is not supported, because it is a mixture of experts, and only dense",
        ),
        ({"model_type": "llada", "architectures": ["LLaDAMoEModelLM"]}, "LLaDA-MoE is not supported"),
        ({"architectures": ["SDARMoeForCausalLM"]}, "SDAR with experts is not supported, because it is a mixture"),
        ({"model_type": "diffusion_gemma"}, "DiffusionGemma is not supported, because it has an encoder"),
        ({"model_type": "nemotron_labs_diffusion"}, "Nemotron-Labs-Diffusion is not supported"),
        ({"model_type": "custom", "architectures": ["WeDLMForCausalLM"]}, "WeDLM is not supported"),
        ({"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}, "Qwen is not supported, because it is auto"),
    ],
)
def test_a_model_that_is_not_computed_is_refused_with_the_reason(raw: Mapping[str, Any], sentence: str) -> None:
    with pytest.raises(CheckpointError, match=re.escape(sentence)):
        family_of(raw)


def test_no_family_has_a_name_that_is_refused() -> None:
    for family in families():
        for name in family.published_names:
            assert why_unsupported({"model_type": name, "architectures": [name]}) is None


def test_one_network_is_another_family_where_its_canvas_can_grow() -> None:
    assert family_of(DREAM_CONFIG) is DREAM
    assert family_of({**DREAM_CONFIG, "expand_token_id": 3}) is DREAMON
    assert family_of({**DREAM_CONFIG, "model_type": "DreamOn"}) is DREAM


def test_a_name_is_given_once() -> None:
    with pytest.raises(AssertionError, match="there is a family 'dream' already"):
        register(DREAM)


def test_a_family_takes_the_rules_whose_signals_its_sampler_gives() -> None:
    def rules(family: Family) -> set[str]:
        return {name for name in RULE_PARAMETERS if family.takes(name)}

    assert rules(LLADA) == RULE_PARAMETERS
    assert rules(DREAM) == set()
    assert rules(DREAMON) == RULE_PARAMETERS - {"stability_bound", "revoke_threshold"}


@pytest.mark.parametrize("family", [*families()], ids=lambda family: family.name)
def test_a_declaration_names_parameters_that_there_are(family: Family) -> None:
    assert family.parameters | COMMON <= {field.name for field in fields(DecodingParams)}
    assert not family.parameters & (COMMON | RULE_PARAMETERS)


def test_every_parameter_is_taken_by_some_family() -> None:
    for field in fields(DecodingParams):
        assert any(family.takes(field.name) for family in families()), field.name
