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
from tests.unit.engine.checkpoints import LLADA_CONFIG, weights_for, write_checkpoint
from tests.unit.engine.models import plain

LLADA_8B = json.loads("""{
  "model_type": "llada", "architectures": ["LLaDAModelLM"], "block_type": "llama", "activation_type": "silu",
  "d_model": 4096, "n_heads": 32, "n_kv_heads": 32, "n_layers": 32, "mlp_hidden_size": 12288,
  "vocab_size": 126464, "embedding_size": 126464, "max_sequence_length": 4096, "weight_tying": false,
  "rope_theta": 500000.0, "rms_norm_eps": 1e-05, "include_bias": false, "scale_logits": false,
  "mask_token_id": 126336, "eos_token_id": 126081, "pad_token_id": 126081
}""")


def published_names(num_layers: int) -> set[str]:
    per_block = ("attn_norm", "ff_norm", "q_proj", "k_proj", "v_proj", "attn_out", "ff_proj", "up_proj", "ff_out")
    blocks = {f"blocks.{n}.{name}" for n in range(num_layers) for name in per_block}
    return {f"model.transformer.{name}.weight" for name in blocks | {"wte", "ln_f", "ff_out"}}


def test_the_real_8b_is_built_with_its_names_and_shapes() -> None:
    with torch.device("meta"):
        model = build_model(LLADA_8B)
    shapes = {name: tuple(weight.shape) for name, weight in model.named_parameters()}
    assert shapes.keys() == published_names(32)
    assert sum(weight.numel() for weight in model.parameters()) == 8_015_581_184
    assert shapes["model.transformer.wte.weight"] == shapes["model.transformer.ff_out.weight"] == (126464, 4096)
    assert shapes["model.transformer.blocks.31.ff_proj.weight"] == (12288, 4096)
    assert shapes["model.transformer.blocks.31.ff_out.weight"] == (4096, 12288)
    assert shapes["model.transformer.blocks.0.k_proj.weight"] == (4096, 4096)
    assert shapes["model.transformer.ln_f.weight"] == (4096,)


def test_the_real_config_is_read_as_it_is() -> None:
    with torch.device("meta"):
        config = build_model(LLADA_8B).config
    assert (config.family, config.prediction_shift, config.context_length) == ("llada", 0, 4096)
    assert (config.rope_theta, config.norm_eps, config.head_dim, config.tied) == (500000.0, 1e-5, 128, False)
    assert config.special == SpecialIds(mask=126336, eos=126081, pad=126081)


def plain_states(w: dict[str, Tensor], ids: Tensor) -> Tensor:
    """Two blocks and the final norm, from the published tensors by their names."""
    w = {name.removeprefix("model.transformer.").removesuffix(".weight"): weight for name, weight in w.items()}
    x, positions = w["wte"][ids], torch.arange(len(ids))
    for block in ("blocks.0.", "blocks.1."):
        normed = plain.rms_norm(x, w[block + "attn_norm"], 1e-5)
        q, k, v = (
            (normed @ w[block + name].T).reshape(-1, heads, 4)
            for name, heads in (("q_proj", 4), ("k_proj", 2), ("v_proj", 2))
        )
        rotated = (plain.rotate(q, positions, 500000.0), plain.rotate(k, positions, 500000.0))
        x = x + plain.attention(*rotated, v) @ w[block + "attn_out"].T
        normed = plain.rms_norm(x, w[block + "ff_norm"], 1e-5)
        x = x + plain.gated(normed @ w[block + "ff_proj"].T, normed @ w[block + "up_proj"].T) @ w[block + "ff_out"].T
    return plain.rms_norm(x, w["ln_f"], 1e-5)


@torch.inference_mode()
def test_the_network_is_its_formulas() -> None:
    model = build_model({**LLADA_CONFIG, "d_model": 16, "n_heads": 4, "n_kv_heads": 2, "n_layers": 2})
    weights = {name: torch.randn(weight.shape) * 0.3 for name, weight in model.named_parameters()}
    model.load_state_dict(weights)
    ids = torch.tensor([3, 1, 4, 1, 5])
    states = plain_states(weights, ids)
    torch.testing.assert_close(model.hidden(ids, torch.arange(5), [5]), states, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(model.head(states), states @ weights["model.transformer.ff_out.weight"].T)


@pytest.mark.parametrize(
    ("absent", "field", "default"),
    [
        ("rope_theta", "rope_theta", 10000.0),
        ("rms_norm_eps", "norm_eps", 1e-5),
        ("max_sequence_length", "context_length", 4096),
        ("mlp_hidden_size", "mlp_width", 32),
        ("embedding_size", "vocab_size", 12),
    ],
)
def test_absent_keys_take_the_familys_defaults(absent: str, field: str, default: float) -> None:
    config = build_model({key: value for key, value in LLADA_CONFIG.items() if key != absent}).config
    assert getattr(config, field) == default


def test_the_embedding_may_have_more_rows_than_the_tokenizer() -> None:
    assert build_model({**LLADA_CONFIG, "embedding_size": 16}).config.vocab_size == 16


def test_fewer_key_heads_are_allowed() -> None:
    model = build_model({**LLADA_CONFIG, "n_kv_heads": 1})
    assert dict(model.named_parameters())["model.transformer.blocks.0.k_proj.weight"].shape == (4, 8)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("block_type", "sequential"),
        ("activation_type", "swiglu"),
        ("layer_norm_type", "default"),
        ("include_bias", True),
        ("include_qkv_bias", True),
        ("alibi", True),
        ("rope", False),
        ("scale_logits", True),
        ("input_emb_norm", True),
        ("attention_layer_norm", True),
    ],
)
def test_variants_that_no_release_uses_are_refused_by_name(key: str, value: Any) -> None:
    with pytest.raises(CheckpointError, match=f"{key}={value!r} is not supported for LLaDA"):
        build_model({**LLADA_CONFIG, key: value})


@pytest.mark.parametrize("said", [{"weight_tying": True}, {}])
@torch.inference_mode()
def test_a_head_is_the_embedding_unless_the_config_says_otherwise(tmp_path: Path, said: dict[str, bool]) -> None:
    tied = {name: value for name, value in LLADA_CONFIG.items() if name != "weight_tying"} | said
    weights = weights_for(tied)
    assert "model.transformer.ff_out.weight" not in weights
    model = load_model(write_checkpoint(tmp_path, tied, weights), torch.device("cpu"), torch.float32)
    states = model.hidden(torch.tensor([1, 2, 3]), torch.arange(3), [3])
    torch.testing.assert_close(model.head(states), states @ weights["model.transformer.wte.weight"].T)
