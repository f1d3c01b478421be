from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from app.engine.families.checkpoint import load_model
from app.services.diffusion.native.checkpoints import OwnDefaults, own_defaults
from tests.unit.training.conftest import SHAPE, tiny_recipe, tokenizer_for
from training.evaluate import ASSETS, load_exported
from training.export import export, published_config
from training.initial import build
from training.recipe import read_recipe
from training.tokenizer import SPECIAL_TOKENS, special_ids

VECTORS = Path(__file__).resolve().parents[2] / "conformance" / "vectors"


@pytest.mark.parametrize("family", ["llada", "dream"])
def test_an_exported_checkpoint_computes_what_was_trained(family: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    tokenizer = tokenizer_for(family)
    trained = build(tiny_recipe(family, {}), tokenizer).to(torch.bfloat16).float()
    export(trained.state_dict(), tokenizer, family, SHAPE, tmp_path)
    loaded, _ = load_exported(tmp_path)
    ids = torch.arange(20)
    states = [model.hidden(ids, torch.arange(20), [20]) for model in (trained, loaded)]
    torch.testing.assert_close(states[0], states[1])
    torch.testing.assert_close(trained.head(states[0]), loaded.head(states[1]))


@pytest.mark.parametrize("family", ["llada", "dream"])
def test_the_files_hold_bf16_and_the_embedding_once(family: str, tmp_path: Path) -> None:
    tokenizer = tokenizer_for(family)
    model = build(tiny_recipe(family, {}), tokenizer)
    export(model.state_dict(), tokenizer, family, SHAPE, tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    assert model.EMBEDDING_NAME in tensors
    assert model.HEAD_NAME not in tensors
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    assert not (tmp_path / "model.safetensors.partial").exists()


@pytest.mark.parametrize(("family", "vectors"), [("llada", "llada-tiny"), ("dream", "dreamon-tiny")])
def test_config_keys_are_the_published_ones(family: str, vectors: str) -> None:
    published: dict[str, Any] = json.loads((VECTORS / vectors / "config.json").read_text())
    config = published_config(family, SHAPE, special_ids(tokenizer_for(family), family))
    assert set(config) - {"bos_token_id"} <= set(published)


@pytest.mark.parametrize("family", ["llada", "dream"])
def test_special_tokens_stand_at_the_vocabularys_end(family: str) -> None:
    ids = special_ids(tokenizer_for(family), family)
    last = SHAPE["vocab_size"]
    assert sorted(ids.values()) == list(range(last - len(SPECIAL_TOKENS[family]), last))
    assert ids.get("expand", last - 1) == last - 1


def test_shards_are_small_complete_and_read_by_the_server(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tokenizer, limit = tokenizer_for("dream"), 20_000
    trained = build(tiny_recipe("dream", {}), tokenizer).to(torch.bfloat16).float().state_dict()
    export(trained, tokenizer, "dream", SHAPE, tmp_path, limit)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    names = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert names[0] == f"model-00001-of-{len(names):05}.safetensors"
    assert sorted(set(index["weight_map"].values())) == names
    shards = {name: load_file(tmp_path / name) for name in names}
    sizes = {name: sum(tensor.nbytes for tensor in shard.values()) for name, shard in shards.items()}
    assert sum(sizes.values()) == index["metadata"]["total_size"]
    assert all(size <= limit or len(shards[name]) == 1 for name, size in sizes.items())
    loaded = load_model(tmp_path, torch.device("cpu"), torch.float32).state_dict()
    for name, tensor in trained.items():
        assert torch.equal(loaded[name], tensor)


@pytest.mark.parametrize(("before", "after"), [(20_000, None), (None, 20_000), (20_000, 40_000)])
def test_an_export_leaves_nothing_of_an_earlier_layout(before: int | None, after: int | None, tmp_path: Path) -> None:
    tokenizer = tokenizer_for("dream")
    trained = build(tiny_recipe("dream", {}), tokenizer).state_dict()
    export(trained, tokenizer, "dream", SHAPE, tmp_path / "both", before)
    for folder in ("both", "one"):
        export(trained, tokenizer, "dream", SHAPE, tmp_path / folder, after)
    assert {path.name for path in (tmp_path / "both").iterdir()} == {path.name for path in (tmp_path / "one").iterdir()}
    load_model(tmp_path / "both", torch.device("cpu"), torch.float32)


@pytest.mark.parametrize("defaults", [{}, {"block_length": 16}, {"initial_masks": 8}])
def test_the_defaults_of_a_recipe_stand_where_the_server_reads_them(defaults: dict[str, int], tmp_path: Path) -> None:
    tokenizer = tokenizer_for("llada")
    trained = build(tiny_recipe("llada", {}), tokenizer).state_dict()
    export(trained, tokenizer, "llada", SHAPE, tmp_path, defaults=defaults)
    assert own_defaults(tmp_path) == OwnDefaults(**defaults)


@pytest.mark.parametrize("model", ["dreamon", "llada"])
def test_the_embedded_checkpoints_write_by_the_defaults_of_their_recipes(model: str) -> None:
    assert own_defaults(ASSETS / model) == OwnDefaults(**read_recipe(model, "cpu").defaults)
