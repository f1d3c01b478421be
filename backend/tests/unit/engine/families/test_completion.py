"""The files beside `config.json` complete what it says of a block-causal checkpoint."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from app.engine.families.build import build_model
from app.engine.families.checkpoint import load_model
from app.engine.families.registry import read_config
from app.engine.interface.errors import CheckpointError
from tests.profiles import examples
from tests.unit.engine.checkpoints import BLOCK_CHECKPOINTS, SDAR_CONFIG, write_config

folders = pytest.mark.parametrize("name", BLOCK_CHECKPOINTS)
MASKS = {"sdar-tiny": 491, "sdar-tiny-tied": 491, "stable-diffcoder-tiny": 7, "fast-dllm-v2-tiny": 489}


def copy(name: str, target: Path, *without: str) -> Path:
    """The JSON files of a checkpoint, in a folder that a test may damage."""
    for file in BLOCK_CHECKPOINTS[name].glob("*.json"):
        if file.name not in without:
            shutil.copy(file, target)
    return target


def edit(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**content, **changes}))


@folders
def test_mask_and_unusable_ids_are_found(name: str) -> None:
    config = build_model(read_config(BLOCK_CHECKPOINTS[name])).config
    last = {"sdar-tiny": 491, "sdar-tiny-tied": 491, "stable-diffcoder-tiny": 490, "fast-dllm-v2-tiny": 489}[name]
    assert config.special.mask == MASKS[name]
    assert config.special.unusable == tuple(range(last + 1, 512))


@pytest.mark.parametrize("name", ["sdar-tiny", "fast-dllm-v2-tiny"])
def test_vocabulary_and_added_tokens_say_the_same_as_tokenizer_json(name: str, tmp_path: Path) -> None:
    assert read_config(copy(name, tmp_path, "tokenizer.json")) == read_config(BLOCK_CHECKPOINTS[name])


def test_an_early_config_of_sdar_leaves_mask_and_block_out(tmp_path: Path) -> None:
    raw = json.loads((BLOCK_CHECKPOINTS["sdar-tiny"] / "config.json").read_text())
    folder = copy("sdar-tiny", tmp_path)
    write_config(folder, {key: value for key, value in raw.items() if key not in ("mask_token_id", "block_size")})
    assert build_model(read_config(folder)).config == build_model(read_config(BLOCK_CHECKPOINTS["sdar-tiny"])).config


@pytest.mark.parametrize("written", ["<a>", {"content": "<a>", "special": True}])
@pytest.mark.parametrize("file", ["tokenizer_config.json", "special_tokens_map.json"])
def test_the_mask_is_the_token_with_that_role(tmp_path: Path, file: str, written: Any) -> None:
    write_config(tmp_path, {**SDAR_CONFIG, "mask_token_id": None})
    edit(tmp_path / "added_tokens.json", **{"<a>": 7, "<|MASK|>": 8})
    assert read_config(tmp_path)["mask_token_id"] == 8
    edit(tmp_path / file, mask_token=written)
    assert read_config(tmp_path)["mask_token_id"] == 7
    write_config(tmp_path, SDAR_CONFIG)
    assert read_config(tmp_path)["mask_token_id"] == SDAR_CONFIG["mask_token_id"]


def test_without_tokenizer_files_every_id_can_be_used(tmp_path: Path) -> None:
    write_config(tmp_path, SDAR_CONFIG)
    assert build_model(read_config(tmp_path)).config.special.unusable == ()


def test_ids_between_tokens_are_unusable_too(tmp_path: Path) -> None:
    write_config(tmp_path, SDAR_CONFIG)
    edit(
        tmp_path / "tokenizer.json",
        model={"vocab": [["a", 0.0], ["b", 0.0]]},
        added_tokens=[{"id": 10, "content": "e"}],
    )
    assert build_model(read_config(tmp_path)).config.special.unusable == (2, 3, 4, 5, 6, 7, 8, 9, 11)


@pytest.mark.parametrize("name", ["stable-diffcoder-tiny", "fast-dllm-v2-tiny"])
def test_a_checkpoint_without_a_mask_anywhere_is_refused(name: str, tmp_path: Path) -> None:
    folder = copy(
        name, tmp_path, "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"
    )
    with pytest.raises(
        CheckpointError,
        match=r"config\.json lacks 'mask_token_id'.*tokenizer_config\.json.*name the mask as mask_token in",
    ):
        load_model(folder, torch.device("meta"), torch.float32)


def test_a_mask_without_an_id_is_refused(tmp_path: Path) -> None:
    write_config(tmp_path, {**SDAR_CONFIG, "mask_token_id": None})
    edit(tmp_path / "tokenizer_config.json", mask_token="<gone>")
    with pytest.raises(CheckpointError, match=r"tokenizer_config\.json: mask_token='<gone>' has no id"):
        read_config(tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("tokenizer.json", "{", "tokenizer.json cannot be read"),
        ("tokenizer.json", '{"model": []}', "tokenizer.json: model must be a JSON object"),
        ("tokenizer_config.json", "[]", "tokenizer_config.json holds no JSON object"),
        ("tokenizer_config.json", '{"added_tokens_decoder": [1]}', "added_tokens_decoder must be a JSON object"),
        ("added_tokens.json", "5", "added_tokens.json holds no JSON object"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, file: str, content: str, reason: str) -> None:
    write_config(tmp_path, SDAR_CONFIG)
    (tmp_path / file).write_text(content)
    with pytest.raises(CheckpointError, match=reason):
        read_config(tmp_path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.just("content"), inner),
    max_leaves=6,
)
KEYS = ("model", "vocab", "added_tokens", "added_tokens_decoder", "mask_token", "0", "11")


@examples(60)
@given(
    file=st.sampled_from(["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json"]),
    content=st.dictionaries(st.sampled_from(KEYS), json_values | st.fixed_dictionaries({"vocab": json_values})),
    has_mask=st.booleans(),
)
def test_any_value_in_any_file_is_read_or_refused(
    file: str, content: dict[str, Any], has_mask: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("any")
    write_config(folder, SDAR_CONFIG if has_mask else {**SDAR_CONFIG, "mask_token_id": None})
    (folder / file).write_text(json.dumps(content))
    with torch.device("meta"), suppress(CheckpointError):
        build_model(read_config(folder))
