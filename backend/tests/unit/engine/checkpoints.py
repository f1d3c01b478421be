"""The small checkpoints that are there, and still smaller ones that are written for a test."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

import app.engine
from app.engine.families.build import build_model
from app.engine.models.base import FamilyModel
from tests import conformance

_VECTORS = Path(conformance.__path__[0]) / "vectors"
_EMBEDDED = Path(app.engine.__path__[0]).parent / "assets" / "models"

BLOCK_CHECKPOINTS = {
    name: _VECTORS / "block" / name
    for name in ("sdar-tiny", "sdar-tiny-tied", "stable-diffcoder-tiny", "fast-dllm-v2-tiny")
}
"""Block-causal ones, of every kind."""

CHECKPOINTS = {
    **{name: _VECTORS / name for name in ("llada-tiny", "dream-tiny", "dreamon-tiny")},
    **{f"embedded-{name}": _EMBEDDED / name for name in ("llada", "dreamon")},
    **BLOCK_CHECKPOINTS,
}

BY_MODULES = {f"{name} by modules": name for name in ("llada-tiny", "dreamon-tiny", "sdar-tiny")}
"""Runners that use no graphs, although they could."""

LLADA_CONFIG: Mapping[str, Any] = json.loads("""{
  "model_type": "llada", "architectures": ["LLaDAModelLM"], "d_model": 8, "n_heads": 2, "n_layers": 1,
  "mlp_hidden_size": 16, "embedding_size": 12, "vocab_size": 12, "max_sequence_length": 64,
  "mask_token_id": 11, "eos_token_id": 10, "rope_theta": 500000.0, "rms_norm_eps": 1e-05, "weight_tying": false
}""")
DREAM_CONFIG: Mapping[str, Any] = json.loads("""{
  "model_type": "Dream", "architectures": ["DreamModel"], "hidden_size": 8, "num_hidden_layers": 1,
  "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 16, "vocab_size": 12,
  "max_position_embeddings": 64, "mask_token_id": 11, "eos_token_id": 10, "rope_theta": 1e6, "rms_norm_eps": 1e-06
}""")
SDAR_CONFIG: Mapping[str, Any] = json.loads("""{
  "model_type": "sdar", "architectures": ["SDARForCausalLM"], "attention_bias": false, "head_dim": 6, "hidden_size": 8,
  "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 16, "vocab_size": 12,
  "max_position_embeddings": 64, "mask_token_id": 11, "eos_token_id": 10, "rope_theta": 1e6, "rms_norm_eps": 1e-06
}""")
"""Its heads are wider than its states."""
STABLE_DIFFCODER_CONFIG: Mapping[str, Any] = json.loads("""{
  "model_type": "llama", "architectures": ["StableDiffcoderForCausalLM"], "attention_bias": false, "mlp_bias": false,
  "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 16,
  "vocab_size": 12, "max_position_embeddings": 64, "mask_token_id": 11, "eos_token_id": 10, "rope_theta": 5e5
}""")
FAST_DLLM_CONFIG: Mapping[str, Any] = json.loads("""{
  "model_type": "Fast_dLLM_Qwen", "architectures": ["Fast_dLLM_QwenForCausalLM"], "hidden_size": 8,
  "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 16, "vocab_size": 12,
  "max_position_embeddings": 64, "mask_token_id": 11, "eos_token_id": 10, "rope_theta": 1e6
}""")
BLOCK_CONFIGS = {"sdar": SDAR_CONFIG, "stable_diffcoder": STABLE_DIFFCODER_CONFIG, "fast_dllm_v2": FAST_DLLM_CONFIG}


def small_block_causal(family: str, **changes: Any) -> FamilyModel:
    """A network of a block-causal family with random weights, biases and norms too."""
    torch.manual_seed(0)
    model = build_model({**BLOCK_CONFIGS[family], **changes}).requires_grad_(False)
    for weight in model.parameters():
        weight.normal_()
    return model


def small_llada(**changes: Any) -> FamilyModel:
    torch.manual_seed(0)
    return build_model({**LLADA_CONFIG, **changes}).requires_grad_(False)


def small_dream(**changes: Any) -> FamilyModel:
    """Heads that share keys, and random biases: the published start is 0, which would hide one that is forgotten."""
    torch.manual_seed(0)
    model = build_model({**DREAM_CONFIG, **changes}).requires_grad_(False)
    for weight in model.parameters():
        weight.normal_()
    return model


def weights_for(config: Mapping[str, Any], dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Random weights under the published names."""
    torch.manual_seed(0)
    model = build_model(config)
    return {name: torch.randn(weight.shape).to(dtype) for name, weight in model.named_parameters()}


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def write_checkpoint(folder: Path, config: Mapping[str, Any], weights: Mapping[str, Tensor] | None = None) -> Path:
    """A checkpoint in one file; returns its folder."""
    write_config(folder, config)
    save_file(weights_for(config) if weights is None else dict(weights), folder / "model.safetensors")
    return folder


def write_shards(folder: Path, shards: Mapping[str, Mapping[str, Tensor]], index: Mapping[str, str]) -> Path:
    """Shard files by name, and an index from tensor names to file names; returns the folder."""
    for name, tensors in shards.items():
        save_file(dict(tensors), folder / name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}), encoding="utf-8")
    return folder
