"""Exports trained weights as a checkpoint in the family's published format.

The head is the embedding, and stored once, as the families' own keys say it: `weight_tying` of LLaDA and
`tie_word_embeddings` of Dream. A copy beside it would be a fifth of the file, and 4 MB of every server's memory.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor

from training.tokenizer import special_ids, write_tokenizer


def published_config(family: str, shape: dict[str, Any], ids: dict[str, int]) -> dict[str, Any]:
    """The content of `config.json`, with the published keys."""
    build = _llada_config if family == "llada" else _dream_config
    return build(shape, ids)


def _llada_config(shape: dict[str, Any], ids: dict[str, int]) -> dict[str, Any]:
    return {
        "activation_type": "silu",
        "alibi": False,
        "architectures": ["LLaDAModelLM"],
        "attention_dropout": 0.0,
        "attention_layer_norm": False,
        "bias_for_layer_norm": False,
        "block_group_size": 1,
        "block_type": "llama",
        "bos_token_id": ids["bos"],
        "d_model": shape["width"],
        "embedding_size": shape["vocab_size"],
        "eos_token_id": ids["eos"],
        "include_bias": False,
        "include_qkv_bias": False,
        "init_device": "meta",
        "input_emb_norm": False,
        "layer_norm_type": "rms",
        "layer_norm_with_affine": True,
        "mask_token_id": ids["mask"],
        "max_sequence_length": shape["context_length"],
        "mlp_hidden_size": shape["mlp_width"],
        "model_type": "llada",
        "n_heads": shape["heads"],
        "n_kv_heads": shape["kv_heads"],
        "n_layers": shape["layers"],
        "pad_token_id": ids["eos"],
        "rms_norm_eps": 1e-05,
        "rope": True,
        "rope_full_precision": True,
        "rope_theta": 500000.0,
        "scale_logits": False,
        "torch_dtype": "bfloat16",
        "use_cache": False,
        "vocab_size": shape["vocab_size"],
        "weight_tying": True,
    }


def _dream_config(shape: dict[str, Any], ids: dict[str, int]) -> dict[str, Any]:
    return {
        "architectures": ["DreamModel"],
        "attention_dropout": 0.0,
        "bos_token_id": ids["bos"],
        "eos_token_id": ids["eos"],
        "expand_token_id": ids["expand"],
        "hidden_act": "silu",
        "hidden_size": shape["width"],
        "initializer_range": 0.02,
        "intermediate_size": shape["mlp_width"],
        "mask_token_id": ids["mask"],
        "max_position_embeddings": shape["context_length"],
        "max_window_layers": shape["layers"],
        "model_type": "Dream",
        "num_attention_heads": shape["heads"],
        "num_hidden_layers": shape["layers"],
        "num_key_value_heads": shape["kv_heads"],
        "pad_token_id": ids["eos"],
        "rms_norm_eps": 1e-06,
        "rope_scaling": None,
        "rope_theta": 1000000.0,
        "sliding_window": None,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "use_mrope": False,
        "use_sliding_window": False,
        "vocab_size": shape["vocab_size"],
    }


def export(
    weights: dict[str, Tensor],
    tokenizer: Tokenizer,
    family: str,
    shape: dict[str, Any],
    folder: Path,
    max_shard_bytes: int | None = None,
    defaults: Mapping[str, int] | None = None,
) -> None:
    """Writes the checkpoint, its weights in one file, or in several if they exceed `max_shard_bytes`.

    Args:
        defaults: the parameters that it chooses for its continuations.

    Each file appears in one move, so a server never sees half of it. Several files replace those of an earlier export
    one by one, so a server should not load the folder at that moment.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ids = special_ids(tokenizer, family)
    config = published_config(family, shape, ids)
    write_tokenizer(tokenizer, family, shape["context_length"], folder)
    _write(folder / "config.json", config)
    _write(folder / "generation_config.json", _generation_config(config) | dict(defaults or {}))
    write_weights(in_bfloat16(weights), folder, max_shard_bytes)


def write_weights(tensors: dict[str, Tensor], folder: Path, max_shard_bytes: int | None) -> None:
    """Writes `model.safetensors`, or shards with the published names and their index; files of another layout are
    removed."""
    shards = split_shards(tensors, max_shard_bytes) if max_shard_bytes else [tensors]
    names = ["model.safetensors"]
    if len(shards) > 1:
        names = [f"model-{number:05}-of-{len(shards):05}.safetensors" for number in range(1, len(shards) + 1)]
    for name, shard in zip(names, shards, strict=True):
        _save(shard, folder / name)
    index = folder / "model.safetensors.index.json"
    if len(shards) > 1:
        _write(index, _index(dict(zip(names, shards, strict=True))))
    else:
        index.unlink(missing_ok=True)
    for path in folder.glob("model*.safetensors"):
        if path.name not in names:
            path.unlink()


def split_shards(tensors: dict[str, Tensor], max_bytes: int) -> list[dict[str, Tensor]]:
    """The tensors in order, cut into runs of at most `max_bytes`; a larger tensor has a shard of its own."""
    shards: list[dict[str, Tensor]] = []
    room = 0
    for name, tensor in tensors.items():
        if not shards or tensor.nbytes > room:
            shards.append({})
            room = max_bytes
        shards[-1][name] = tensor
        room -= tensor.nbytes
    return shards


def _index(shards: dict[str, dict[str, Tensor]]) -> dict[str, Any]:
    total = sum(tensor.nbytes for shard in shards.values() for tensor in shard.values())
    homes = {name: file for file, shard in shards.items() for name in shard}
    return {"metadata": {"total_size": total}, "weight_map": dict(sorted(homes.items()))}


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    partial = path.with_name(path.name + ".partial")
    save_file(tensors, partial, metadata={"format": "pt"})
    partial.chmod(0o644)
    partial.replace(path)


def in_bfloat16(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().to(torch.bfloat16).contiguous() for name, tensor in weights.items()}


def _generation_config(config: dict[str, Any]) -> dict[str, Any]:
    roles = ("bos_token_id", "eos_token_id", "pad_token_id", "mask_token_id", "expand_token_id")
    return {"_from_model_config": True} | {role: config[role] for role in roles if role in config}


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")
