"""GGUF files of small checkpoints, written by llama.cpp's own package in the order that its converter gives them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFWriter, quantize
from torch import Tensor

from app.engine.families.checkpoint import load_model

LLADA_NAMES = {
    "model.transformer.wte": "token_embd",
    "model.transformer.ln_f": "output_norm",
    "model.transformer.ff_out": "output",
    "attn_norm": "attn_norm",
    "q_proj": "attn_q",
    "k_proj": "attn_k",
    "v_proj": "attn_v",
    "attn_out": "attn_output",
    "ff_norm": "ffn_norm",
    "ff_proj": "ffn_gate",
    "up_proj": "ffn_up",
    "ff_out": "ffn_down",
}
DREAM_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
SIZES = {
    "embedding_length": ("d_model", "hidden_size"),
    "block_count": ("n_layers", "num_hidden_layers"),
    "attention.head_count": ("n_heads", "num_attention_heads"),
    "attention.head_count_kv": ("n_kv_heads", "num_key_value_heads"),
    "feed_forward_length": ("mlp_hidden_size", "intermediate_size"),
    "context_length": ("max_sequence_length", "max_position_embeddings"),
}
CONTROL, UNUSED, NORMAL = 3, 5, 1


def name_in_gguf(name: str) -> str:
    """llama.cpp's name of a published tensor."""
    stem, _, kind = name.rpartition(".")
    for prefix, names in (("model.transformer.blocks.", LLADA_NAMES), ("model.layers.", DREAM_NAMES)):
        if stem.startswith(prefix):
            layer, _, part = stem.removeprefix(prefix).partition(".")
            return f"blk.{layer}.{names[part]}.{kind}"
    return f"{(LLADA_NAMES | DREAM_NAMES)[stem]}.{kind}"


def permuted(weight: Tensor, num_heads: int) -> Tensor:
    """Rows in llama.cpp's order: neighbours are turned together, and no longer halves of a head."""
    return torch.cat([torch.stack(head.chunk(2), dim=1).flatten(0, 1) for head in weight.chunk(num_heads)])


def write_gguf(path: Path, source: Path, kind: str = "F32", **changes: Any) -> Path:
    """Writes a checkpoint folder as a GGUF whose matrices are of a type.

    Args:
        changes: keys with other values, with `_` for `.`; `None` leaves one out. `tensors`: tensors of other values.
    """
    config = json.loads((source / "config.json").read_text())
    is_llada = config["model_type"] == "llada"
    tensors: dict[str, Tensor | None] = changes.pop("tensors", {})
    writer = GGUFWriter(path, "llada" if is_llada else "dream")
    for key, value in {**_values(config, source), **changes}.items():
        _add(writer, key, value)
    model = load_model(source, torch.device("cpu"), torch.float32)
    for name, weight in {**dict(model.named_parameters()), **tensors}.items():
        if weight is None:
            continue
        heads = {"q_proj": "n_heads", "k_proj": "n_kv_heads"}.get(name.split(".")[-2]) if is_llada else None
        ordered = weight if heads is None else permuted(weight, config[heads])
        _add_tensor(writer, name_in_gguf(name) if name not in tensors or "." in name else name, ordered, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _values(config: Mapping[str, Any], source: Path) -> dict[str, Any]:
    is_llada = config["model_type"] == "llada"
    architecture = "llada" if is_llada else "dream"
    sizes = {f"{architecture}.{key}": config[names[0 if is_llada else 1]] for key, names in SIZES.items()}
    tokenizer = json.loads((source / "tokenizer.json").read_text())
    names = json.loads((source / "tokenizer_config.json").read_text())
    ids = dict(tokenizer["model"]["vocab"]) | {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    added = {token["id"] for token in tokenizer["added_tokens"]}
    tokens = {index: token for token, index in ids.items()}
    size = config["vocab_size"]
    return {
        **sizes,
        f"{architecture}.rope.freq_base": float(config["rope_theta"]),
        f"{architecture}.attention.layer_norm_rms_epsilon": float(config["rms_norm_eps"]),
        f"{architecture}.attention.causal": False,
        **({"diffusion.shift_logits": False} if is_llada else {}),
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2" if is_llada else "qwen2",
        "tokenizer.ggml.tokens": [tokens.get(index, f"[PAD{index}]") for index in range(size)],
        "tokenizer.ggml.token_type": [
            CONTROL if index in added else NORMAL if index in tokens else UNUSED for index in range(size)
        ],
        "tokenizer.ggml.merges": [" ".join(merge) for merge in tokenizer["model"]["merges"]],
        "tokenizer.ggml.mask_token_id": config["mask_token_id"],
        "tokenizer.ggml.bos_token_id": ids[names["bos_token"]],
        "tokenizer.ggml.eos_token_id": config["eos_token_id"],
        "tokenizer.ggml.padding_token_id": config["pad_token_id"],
        "tokenizer.ggml.add_bos_token": is_llada,
        "tokenizer.chat_template": names.get("chat_template"),
    }


def _add(writer: GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    elif value is not None:
        writer.add_array(key, value)


def _add_tensor(writer: GGUFWriter, name: str, weight: Tensor, kind: str) -> None:
    numbers = weight.detach().contiguous().numpy().astype(np.float32)
    if numbers.ndim == 1 or kind == "F32":
        writer.add_tensor(name, numbers)
        return
    stored = GGMLQuantizationType[kind]
    writer.add_tensor(
        name, numbers.astype(np.float16) if kind == "F16" else quantize(numbers, stored), raw_dtype=stored
    )
