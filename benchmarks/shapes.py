"""Shapes of checkpoints: the published 7B and 8B, and tiny ones to try a program with; and models of random weights."""

from __future__ import annotations

from typing import Any

import torch

from app.engine.families.build import build_model
from app.engine.models.base import FamilyModel

LLADA_8B: dict[str, Any] = {
    "architectures": ["LLaDAModelLM"],
    "model_type": "llada",
    "d_model": 4096,
    "n_layers": 32,
    "n_heads": 32,
    "n_kv_heads": 32,
    "mlp_hidden_size": 12288,
    "embedding_size": 126464,
    "vocab_size": 126464,
    "max_sequence_length": 4096,
    "rope_theta": 500000.0,
    "rms_norm_eps": 1e-5,
    "weight_tying": False,
    "mask_token_id": 126336,
    "eos_token_id": 126081,
    "pad_token_id": 126081,
}
DREAMON_7B: dict[str, Any] = {
    "architectures": ["DreamModel"],
    "model_type": "Dream",
    "hidden_size": 3584,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "intermediate_size": 18944,
    "vocab_size": 152064,
    "max_position_embeddings": 131072,
    "rope_theta": 1000000.0,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "mask_token_id": 151666,
    "eos_token_id": 151643,
    "pad_token_id": 151643,
    "expand_token_id": 151667,
}
_SDAR: dict[str, Any] = {
    "architectures": ["SDARForCausalLM"],
    "model_type": "sdar",
    "attention_bias": False,
    "block_size": 4,
    "head_dim": 128,
    "num_key_value_heads": 8,
    "vocab_size": 151936,
    "max_position_embeddings": 32768,
    "rope_theta": 1000000,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "mask_token_id": 151669,
    "eos_token_id": 151643,
}
_SDAR_1_7B = {"hidden_size": 2048, "num_hidden_layers": 28, "num_attention_heads": 16, "intermediate_size": 6144}
_SDAR_4B = {"hidden_size": 2560, "num_hidden_layers": 36, "num_attention_heads": 32, "intermediate_size": 9728}
_SDAR_8B = {"hidden_size": 4096, "num_hidden_layers": 36, "num_attention_heads": 32, "intermediate_size": 12288}
_FAST_DLLM_V2: dict[str, Any] = {
    "architectures": ["Fast_dLLM_QwenForCausalLM"],
    "model_type": "Fast_dLLM_Qwen",
    "bd_size": 32,
    "num_hidden_layers": 28,
    "max_position_embeddings": 32768,
    "rope_theta": 1000000.0,
    "rms_norm_eps": 1e-6,
}
_FAST_DLLM_V2_1_5B = {
    "hidden_size": 1536,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "intermediate_size": 8960,
    "vocab_size": 151936,
    "tie_word_embeddings": True,
}
_FAST_DLLM_V2_7B = {
    "hidden_size": 3584,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "intermediate_size": 18944,
    "vocab_size": 152064,
    "tie_word_embeddings": False,
}
BLOCK_CAUSAL: dict[str, dict[str, Any]] = {
    "sdar-1.7b": {**_SDAR, **_SDAR_1_7B},
    "sdar-4b": {**_SDAR, **_SDAR_4B},
    "sdar-8b": {**_SDAR, **_SDAR_8B},
    "stable-diffcoder-8b": {
        "architectures": ["StableDiffcoderForCausalLM"],
        "model_type": "llama",
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "intermediate_size": 14336,
        "vocab_size": 155136,
        "max_position_embeddings": 8192,
        "rope_theta": 500000.0,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
    },
    "fast-dllm-v2-1.5b": {**_FAST_DLLM_V2, **_FAST_DLLM_V2_1_5B},
    "fast-dllm-v2-7b": {**_FAST_DLLM_V2, **_FAST_DLLM_V2_7B},
}
"""Block-causal models by name. Ids are missing where published files leave them to the tokenizer, or were not read."""
ILLADA_8B: dict[str, Any] = {
    "architectures": ["ILLaDAForCausalLM"],
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 155136,
    "max_position_embeddings": 8192,
    "layer_norm_eps": None,
    "tie_word_embeddings": True,
    "mask_token_id": 5,
    "eos_token_id": 2,
}
_DREAM_7B = {name: value for name, value in DREAMON_7B.items() if name != "expand_token_id"}
_IDS = {"mask_token_id": 5, "eos_token_id": 2}
PUBLISHED: dict[str, dict[str, Any]] = {
    "LLaDA-8B, LLaDA-1.5": LLADA_8B,
    "iLLaDA-8B": ILLADA_8B,
    "Dream-7B, Dream-Coder-7B, DiffuCoder-7B": _DREAM_7B,
    "DreamOn-7B": DREAMON_7B,
    "SDAR-1.7B": BLOCK_CAUSAL["sdar-1.7b"],
    "SDAR-4B, TraDo-4B": BLOCK_CAUSAL["sdar-4b"],
    "SDAR-8B, TraDo-8B, DreamReasoner-8B": BLOCK_CAUSAL["sdar-8b"],
    "Stable-DiffCoder-8B": {**_IDS, **BLOCK_CAUSAL["stable-diffcoder-8b"]},
    "Fast-dLLM v2 1.5B": {**_IDS, **BLOCK_CAUSAL["fast-dllm-v2-1.5b"]},
    "Fast-dLLM v2 7B": {**_IDS, **BLOCK_CAUSAL["fast-dllm-v2-7b"]},
}
"""The shapes of published checkpoints by their names, each with a mask."""
_TINY_IDS = {"mask_token_id": 508, "eos_token_id": 509, "pad_token_id": 509, "vocab_size": 512}
_TINY_LLADA = {"d_model": 64, "n_layers": 2, "n_heads": 4, "n_kv_heads": 4, "mlp_hidden_size": 192}
_TINY_DREAMON = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}

SHAPES: dict[str, dict[str, dict[str, Any]]] = {
    "true": {"dreamon": DREAMON_7B, "llada": LLADA_8B},
    "tiny": {
        "dreamon": {**DREAMON_7B, **_TINY_DREAMON, **_TINY_IDS, "intermediate_size": 160, "expand_token_id": 510},
        "llada": {**LLADA_8B, **_TINY_LLADA, **_TINY_IDS, "embedding_size": 512},
    },
}


def random_model(raw_config: dict[str, Any], device: torch.device, dtype: torch.dtype) -> FamilyModel:
    """The model of a `config.json` with random weights, made on their device and in their final type.

    The special tokens' rows of the head are zero and therefore never the best ones, so no canvas changes its size, and
    every request takes all of its steps.
    """
    with torch.device("meta"):
        model = build_model(raw_config).to(dtype)
    model.to_empty(device=device).requires_grad_(False)
    generator = torch.Generator(device).manual_seed(0)
    for name, weight in model.named_parameters():
        if weight.dim() == 2:
            weight.normal_(std=0.02, generator=generator)
        else:
            weight.fill_(0 if name.endswith("bias") else 1)
    special = model.config.special
    model.stack().head[[i for i in (special.mask, special.eos, special.expand) if i is not None]] = 0
    return model
