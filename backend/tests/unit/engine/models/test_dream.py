from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from app.engine.canvas.special import SpecialIds
from app.engine.families.build import build_model
from app.engine.families.checkpoint import load_model
from app.engine.interface.errors import CheckpointError
from tests.unit.engine.checkpoints import DREAM_CONFIG, weights_for, write_checkpoint
from tests.unit.engine.models import plain

DREAM_7B = json.loads("""{
  "model_type": "Dream", "architectures": ["DreamModel"], "hidden_act": "silu", "hidden_size": 3584,
  "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4, "intermediate_size": 18944,
  "vocab_size": 152064, "max_position_embeddings": 131072, "rope_theta": 1000000.0, "rms_norm_eps": 1e-06,
  "rope_scaling": null, "use_sliding_window": false, "use_mrope": false, "tie_word_embeddings": false,
  "mask_token_id": 151666, "eos_token_id": 151643, "bos_token_id": 151643, "pad_token_id": 151643
}""")


def published_names(num_layers: int) -> set[str]:
    per_layer = [f"self_attn.{name}_proj.{kind}" for name in "qkv" for kind in ("weight", "bias")]
    per_layer += [f"{name}.weight" for name in ("self_attn.o_proj", "input_layernorm", "post_attention_layernorm")]
    per_layer += [f"mlp.{name}_proj.weight" for name in ("gate", "up", "down")]
    layers = {f"model.layers.{n}.{name}" for n in range(num_layers) for name in per_layer}
    return layers | {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"}


def test_the_real_7b_is_built_with_its_names_and_shapes() -> None:
    with torch.device("meta"):
        model = build_model(DREAM_7B)
    shapes = {name: tuple(weight.shape) for name, weight in model.named_parameters()}
    assert shapes.keys() == published_names(28)
    assert sum(weight.numel() for weight in model.parameters()) == 7_615_616_512
    assert shapes["model.embed_tokens.weight"] == shapes["lm_head.weight"] == (152064, 3584)
    assert shapes["model.layers.27.self_attn.k_proj.weight"] == (512, 3584)
    assert shapes["model.layers.27.self_attn.v_proj.bias"] == (512,)
    assert shapes["model.layers.0.mlp.down_proj.weight"] == (3584, 18944)


def test_the_real_config_is_read_as_it_is() -> None:
    with torch.device("meta"):
        config = build_model(DREAM_7B).config
    assert (config.family, config.prediction_shift, config.head_dim) == ("dream", 1, 128)
    assert (config.rope_theta, config.norm_eps, config.num_kv_heads, config.tied) == (1e6, 1e-6, 4, False)
    assert config.special == SpecialIds(mask=151666, eos=151643, pad=151643, bos=151643)


def test_null_means_the_default() -> None:
    absent = {"use_mrope": None, "hidden_act": None, "use_sliding_window": None, "tie_word_embeddings": None}
    with torch.device("meta"):
        assert build_model({**DREAM_7B, **absent}).config == build_model(DREAM_7B).config


@pytest.mark.parametrize("ends", [[151643], [151645, 151643], [151643, 151645, 151645]])
def test_the_first_of_several_end_tokens_pads(ends: list[int]) -> None:
    with torch.device("meta"):
        special = build_model({**DREAM_7B, "eos_token_id": ends}).config.special
    assert (special.eos, special.ends) == (151643, (151643, 151645)[: len(set(ends))])


@pytest.mark.parametrize("ends", [[], None, [None]])
def test_a_config_without_an_end_is_refused(ends: list[int] | None) -> None:
    with pytest.raises(CheckpointError, match="lacks 'eos_token_id'"):
        build_model({**DREAM_CONFIG, "eos_token_id": ends})


@pytest.mark.parametrize(("ends", "reason"), [([10, 99], "eos token 99 is outside"), ([10, "x"], "eos_token_id='x'")])
def test_every_end_is_checked(ends: list[Any], reason: str) -> None:
    with pytest.raises(CheckpointError, match=reason):
        build_model({**DREAM_CONFIG, "eos_token_id": ends})


def test_an_expand_token_makes_it_dreamon() -> None:
    with torch.device("meta"):
        config = build_model({**DREAM_7B, "expand_token_id": 151667}).config
    assert (config.family, config.special.expand) == ("dreamon", 151667)


def plain_states(w: dict[str, Tensor], ids: Tensor) -> Tensor:
    """Two layers and the final norm, from the published tensors by their names."""
    x, positions = w["model.embed_tokens.weight"][ids], torch.arange(len(ids))
    for n in range(2):
        layer = {name.removeprefix(f"model.layers.{n}."): weight for name, weight in w.items()}
        normed = plain.rms_norm(x, layer["input_layernorm.weight"], 1e-6)
        q, k, v = (
            (normed @ layer[f"self_attn.{name}_proj.weight"].T + layer[f"self_attn.{name}_proj.bias"]).reshape(
                -1, heads, 4
            )
            for name, heads in (("q", 4), ("k", 2), ("v", 2))
        )
        rotated = (plain.rotate(q, positions, 1e6), plain.rotate(k, positions, 1e6))
        x = x + plain.attention(*rotated, v) @ layer["self_attn.o_proj.weight"].T
        normed = plain.rms_norm(x, layer["post_attention_layernorm.weight"], 1e-6)
        gate, up = (normed @ layer[f"mlp.{name}_proj.weight"].T for name in ("gate", "up"))
        x = x + plain.gated(gate, up) @ layer["mlp.down_proj.weight"].T
    return plain.rms_norm(x, w["model.norm.weight"], 1e-6)


@torch.inference_mode()
def test_the_network_is_its_formulas() -> None:
    shape = {"hidden_size": 16, "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 2}
    model = build_model({**DREAM_CONFIG, **shape})
    weights = {name: torch.randn(weight.shape) * 0.3 for name, weight in model.named_parameters()}
    model.load_state_dict(weights)
    ids = torch.tensor([3, 1, 4, 1, 5])
    states = plain_states(weights, ids)
    torch.testing.assert_close(model.hidden(ids, torch.arange(5), [5]), states, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(model.head(states), states @ weights["lm_head.weight"].T)


@pytest.mark.parametrize(
    ("absent", "field", "default"),
    [
        ("rope_theta", "rope_theta", 10000.0),
        ("rms_norm_eps", "norm_eps", 1e-6),
        ("max_position_embeddings", "context_length", 2048),
        ("num_key_value_heads", "num_kv_heads", 2),
    ],
)
def test_absent_keys_take_the_familys_defaults(absent: str, field: str, default: float) -> None:
    config = build_model({key: value for key, value in DREAM_CONFIG.items() if key != absent}).config
    assert getattr(config, field) == default


@pytest.mark.parametrize(
    ("key", "value"),
    [("hidden_act", "gelu"), ("rope_scaling", {"type": "yarn"}), ("use_sliding_window", True), ("use_mrope", True)],
)
def test_variants_that_no_release_uses_are_refused_by_name(key: str, value: Any) -> None:
    with pytest.raises(CheckpointError, match=f"{key}=.* is not supported for Dream"):
        build_model({**DREAM_CONFIG, key: value})


@torch.inference_mode()
def test_a_tied_head_is_the_embedding(tmp_path: Path) -> None:
    tied = {**DREAM_CONFIG, "tie_word_embeddings": True}
    weights = weights_for(tied)
    assert "lm_head.weight" not in weights
    model = load_model(write_checkpoint(tmp_path, tied, weights), torch.device("cpu"), torch.float32)
    states = model.hidden(torch.tensor([1, 2, 3]), torch.arange(3), [3])
    torch.testing.assert_close(model.head(states), states @ weights["model.embed_tokens.weight"].T)
