"""Reading an adapter's folder: what is taken, and what is refused by its name."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from app.engine.families.adapter import check_adapter, load_adapter
from app.engine.families.adapter_config import CONFIG_NAME, parse_adapter_config
from app.engine.families.adapter_files import WEIGHTS_NAME
from app.engine.interface.errors import CheckpointError
from app.engine.models.adapters import Adapter
from app.engine.models.base import FamilyModel
from tests.unit.engine.adapters import PREFIX, projections_of, random_tensors, write_adapter, write_whole_adapter
from tests.unit.engine.checkpoints import small_dream, small_llada

FIRST = f"{PREFIX}model.transformer.blocks.0.q_proj"
A, B = f"{FIRST}.lora_A.weight", f"{FIRST}.lora_B.weight"


@pytest.fixture(scope="module")
def base() -> FamilyModel:
    return small_llada(n_layers=2)


def only_queries(base: FamilyModel, rank: int = 4) -> dict[str, Tensor]:
    return random_tensors({name: shape for name, shape in projections_of(base).items() if "q_proj" in name}, rank=rank)


def load(folder: Path, base: FamilyModel, dtype: torch.dtype = torch.float32) -> Adapter:
    return load_adapter(folder, base.config, dtype)


def refuses(folder: Path, base: FamilyModel, reason: str) -> None:
    for read in (load_adapter, lambda folder, config, _: check_adapter(folder, config)):
        with pytest.raises(CheckpointError, match=reason):
            read(folder, base.config, torch.float32)


# -- what loads -------------------------------------------------------------------------------------------------------


def test_the_scale_is_alpha_over_the_rank_and_part_of_b(base: FamilyModel, tmp_path: Path) -> None:
    tensors = only_queries(base)
    change = load(write_adapter(tmp_path, tensors, lora_alpha=2), base).changes["model.transformer.blocks.0.q_proj"]
    assert torch.equal(change.down, tensors[A])
    assert torch.equal(change.up, tensors[B] * 0.5)


def test_memory_is_that_of_its_matrices_in_the_type_of_the_base(base: FamilyModel, tmp_path: Path) -> None:
    folder = write_whole_adapter(tmp_path, base)
    num_weights = sum(4 * (num_outputs + num_inputs) for num_outputs, num_inputs in projections_of(base).values())
    assert load(folder, base).num_bytes == 4 * num_weights
    assert load(folder, base, torch.bfloat16).num_bytes == 2 * num_weights


def test_a_file_may_be_written_over_while_the_adapter_is_in_use(base: FamilyModel, tmp_path: Path) -> None:
    adapter = load(write_adapter(tmp_path, only_queries(base)), base)
    before = adapter.changes["model.transformer.blocks.0.q_proj"].down.clone()
    (tmp_path / WEIGHTS_NAME).write_bytes(b"")
    assert torch.equal(adapter.changes["model.transformer.blocks.0.q_proj"].down, before)


def test_settings_that_only_describe_the_training_are_passed_over(base: FamilyModel, tmp_path: Path) -> None:
    settings = {
        "task_type": "CAUSAL_LM",
        "lora_dropout": 0.1,
        "base_model_name_or_path": "GSAI-ML/LLaDA-8B-Instruct",
        "inference_mode": True,
        "peft_version": "0.21.2",
        "init_lora_weights": "gaussian",
        "fan_in_fan_out": True,
        "auto_mapping": {"base_model_class": "LLaDAModelLM"},
        "use_dora": False,
        "modules_to_save": None,
        "megatron_config": None,
        "eva_config": {"rho": 2.0},
        "layers_pattern": None,
        "exclude_modules": None,
    }
    assert load(write_adapter(tmp_path, only_queries(base), **settings), base).changes


def test_targets_that_the_base_lacks_are_no_mistake_beside_one_that_it_has(base: FamilyModel, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path, only_queries(base), target_modules=["q_proj", "o_proj", "gate_proj"])
    assert len(load(folder, base).changes) == 2


@pytest.mark.parametrize(
    ("settings", "changed"),
    [
        ({"target_modules": ["blocks.1.q_proj"]}, {"1"}),
        ({"target_modules": ["q_proj"], "layers_to_transform": [1]}, {"1"}),
        ({"target_modules": ["q_proj"], "layers_to_transform": 0, "layers_pattern": "blocks"}, {"0"}),
        ({"target_modules": ["q_proj"], "layers_to_transform": 0, "layers_pattern": "layers"}, set()),
        ({"target_modules": r".*blocks\.[01]\.q_proj"}, {"0", "1"}),
        ({"target_modules": r"q_proj"}, set()),
        ({"target_modules": ["q_proj"], "exclude_modules": r".*\.0\..*"}, {"1"}),
    ],
)
def test_modules_are_named_as_peft_names_them(settings: dict[str, Any], changed: set[str], base: FamilyModel) -> None:
    config = parse_adapter_config({"peft_type": "LORA", "r": 4, "lora_alpha": 4, **settings})
    names = [name for name in projections_of(base) if config.changes(name)]
    assert {name.split(".")[3] for name in names} == changed
    assert all(name.endswith("q_proj") for name in names)


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"peft_type": "IA3"}, "peft_type='IA3' must be 'LORA'"),
        ({"peft_type": "PROMPT_TUNING"}, "peft_type='PROMPT_TUNING' must be 'LORA'"),
        ({"peft_type": None}, "peft_type=None"),
        ({"modules_to_save": ["lm_head"]}, r"modules_to_save=\['lm_head'\] is not supported"),
        ({"use_dora": True}, "use_dora=True is not supported: DoRA"),
        ({"lora_bias": True}, "lora_bias=True is not supported"),
        ({"bias": "all"}, "bias='all' must be 'none'"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices"),
        ({"target_parameters": ["a.weight"]}, "target_parameters"),
        ({"layer_replication": [[0, 2]]}, "layer_replication"),
        ({"alora_invocation_tokens": [5]}, "alora_invocation_tokens"),
        (
            {"init_lora_weights": "pissa_niter_16"},
            "init_lora_weights='pissa_niter_16' has changed the base's weights; save the adapter with",
        ),
        ({"init_lora_weights": "loftq"}, "init_lora_weights='loftq' has changed the base's weights"),
        ({"init_lora_weights": "voodoo"}, "init_lora_weights='voodoo' must be true, false or one of gaussian"),
        ({"kasa_config": {"beta": 1}}, "kasa_config=.* is not known, so what it does is not computed"),
        ({"r": 0}, "r=0 must be a rank from 1"),
        ({"r": "8"}, "r='8' must be a rank"),
        ({"lora_alpha": float("nan")}, "lora_alpha=nan must be a number"),
        ({"rank_pattern": {"q_proj": 2.5}}, "rank_pattern.q_proj=2.5 must be a rank"),
        ({"rank_pattern": ["q_proj"]}, "rank_pattern=.* must be an object"),
        ({"rank_pattern": {"q_(proj": 2}}, r"rank_pattern has the pattern .*, which cannot be read"),
        ({"target_modules": "(q_proj"}, "target_modules has the pattern .*, which cannot be read"),
        ({"target_modules": [1]}, r"target_modules=\[1\] must be a text or a list of texts"),
        ({"layers_to_transform": ["0"]}, r"layers_to_transform='0' must be the number of a layer"),
        (
            {"target_modules": ["query", "key"]},
            r"target_modules=\('query', 'key'\) names no projection of the base; a llada model of 2 layers has q_proj",
        ),
    ],
)
def test_settings_that_are_not_computed_are_refused_by_name(
    settings: dict[str, Any], reason: str, base: FamilyModel, tmp_path: Path
) -> None:
    refuses(write_adapter(tmp_path, only_queries(base), **settings), base, f"{CONFIG_NAME}: {reason}")


def renamed(old: str, new: str) -> Callable[[dict[str, Tensor]], object]:
    return lambda tensors: tensors.update({name.replace(old, new): tensors.pop(name) for name in [*tensors]})


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda tensors: tensors.pop(A), rf"lacks 1 tensors, the first is '{A}' of shape \(4, 8\)"),
        (lambda tensors: tensors.pop(B), rf"lacks 1 tensors, the first is '{B}' of shape \(8, 4\)"),
        (lambda tensors: (tensors.pop(A), tensors.pop(B)), rf"lacks 2 tensors, the first is '{A}'"),
        (lambda tensors: tensors.clear(), r"lacks \d tensors"),
        (renamed("q_proj", "query"), "holds '.*query.*', and its base has no projection '.*query'; a llada model of 2"),
        (renamed(PREFIX, ""), "holds 'model.*'; expected are names like base_model.model"),
        (renamed("blocks.1.q_proj", "blocks.1.v_proj"), "blocks.1.v_proj.*adapter_config.json does not name"),
        (renamed(".lora_A.weight", ".lora_embedding_A"), "lora_embedding_A': changes of embeddings are not supported"),
        (lambda tensors: tensors.update({f"{FIRST}.lora_magnitude_vector": torch.ones(8)}), "DoRA is not supported"),
        (lambda tensors: tensors.update({f"{FIRST}.lora_B.bias": torch.ones(8)}), "lora_bias is not supported"),
        (lambda tensors: tensors.update({A: torch.ones(4, 9)}), rf"'{A}' has shape \(4, 9\).* must be \(4, 8\); is"),
        (lambda tensors: tensors.update({A: torch.ones(3, 8)}), rf"'{A}' has shape \(3, 8\).* must be \(4, 8\)"),
        (lambda tensors: tensors.update({B: torch.ones(8)}), rf"'{B}' has shape \(8,\).* must be \(8, 4\)"),
        (lambda tensors: tensors.update({A: torch.ones(4, 8, dtype=torch.int8)}), f"'{A}' holds I8, not floating"),
    ],
)  # fmt: skip
def test_tensors_that_do_not_fit_are_named(
    damage: Callable[[dict[str, Tensor]], object], reason: str, base: FamilyModel, tmp_path: Path
) -> None:
    tensors = only_queries(base)
    write_adapter(tmp_path, tensors, target_modules=["q_proj"])
    damage(tensors)
    save_file(tensors, tmp_path / WEIGHTS_NAME)
    refuses(
        tmp_path,
        base,
        f"^{WEIGHTS_NAME}:? .*{reason}" if not reason.startswith("lacks") else f"{WEIGHTS_NAME} {reason}",
    )


def test_an_adapter_of_another_base_is_refused(base: FamilyModel, tmp_path: Path) -> None:
    refuses(write_whole_adapter(tmp_path / "dream", small_dream()), base, "is it an adapter of another base")
    wider = small_llada(n_layers=2, d_model=16)
    refuses(write_whole_adapter(tmp_path / "wider", wider), base, r"\(4, 16\).* must be \(4, 8\); is it an adapter of")
    deeper = small_llada(n_layers=3)
    refuses(
        write_whole_adapter(tmp_path / "deeper", deeper), base, r"no projection 'model.transformer.blocks.2.attn_out'"
    )


def test_a_pickle_is_not_opened(base: FamilyModel, tmp_path: Path) -> None:
    write_adapter(tmp_path, only_queries(base))
    (tmp_path / WEIGHTS_NAME).unlink()
    refuses(tmp_path, base, f"{WEIGHTS_NAME} is missing; an adapter folder needs it")
    (tmp_path / "adapter_model.bin").write_bytes(pickle.dumps({"a": 1}))
    refuses(
        tmp_path, base, "adapter_model.bin is a pickle, which may run code when it is read, and is not opened; save"
    )


def test_a_file_that_was_cut_off_is_refused(base: FamilyModel, tmp_path: Path) -> None:
    path = write_adapter(tmp_path, only_queries(base)) / WEIGHTS_NAME
    for length in (0, 5, 100, path.stat().st_size - 1):
        path.write_bytes(path.read_bytes()[:length])
        refuses(tmp_path, base, f"{WEIGHTS_NAME} is no intact safetensors file")


@pytest.mark.parametrize("text", ["", "{", "[]", "nonsense"])
def test_a_damaged_config_is_refused(text: str, base: FamilyModel, tmp_path: Path) -> None:
    write_adapter(tmp_path, only_queries(base))
    (tmp_path / CONFIG_NAME).write_text(text)
    refuses(tmp_path, base, CONFIG_NAME)


def test_a_folder_without_a_config_is_refused(base: FamilyModel, tmp_path: Path) -> None:
    refuses(tmp_path, base, f"{CONFIG_NAME} is missing")


def test_without_targets_the_file_says_what_is_changed(base: FamilyModel, tmp_path: Path) -> None:
    tensors = only_queries(base)
    assert len(load(write_adapter(tmp_path, tensors, target_modules=None), base).changes) == 2
    del tensors[A]
    save_file(tensors, tmp_path / WEIGHTS_NAME)
    refuses(tmp_path, base, f"lacks 1 tensors, the first is '{A}'")


def test_an_adapter_may_change_a_head(base: FamilyModel, tmp_path: Path) -> None:
    head = {"model.transformer.ff_out": (12, 8)}
    assert load(write_adapter(tmp_path, random_tensors(head)), base).changes.keys() == head.keys()
    config = json.loads((tmp_path / CONFIG_NAME).read_text())
    (tmp_path / CONFIG_NAME).write_text(json.dumps({**config, "target_modules": "all-linear"}))
    refuses(tmp_path, base, f"lacks {2 * 14} tensors")
