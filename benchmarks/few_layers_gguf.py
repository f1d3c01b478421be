"""Checkpoints of few layers, as `few_layers.py` makes them, in llama.cpp's own files and types.

A file is written tensor by tensor, by the package `gguf`. The vocabulary is as large as the published one, and has no
meaning but for single characters.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from app.engine.families.build import build_model
from app.engine.families.gguf_layouts import LAYOUTS, GgufLayout
from benchmarks.few_layers import random_pattern, with_depth

ARCHITECTURES = {"llada": "llada", "Dream": "dream"}
"""The architectures whose canvases llama.cpp denoises, by `model_type`."""
_ROWS = 64
"""Rows that are quantised; each matrix repeats them."""


def write_gguf(path: Path, published: dict[str, Any], depth: int, kind: str) -> Path:
    """Writes a model of so many layers, whose matrices have a type: BF16, Q8_0, Q4_0."""
    from gguf import GGMLQuantizationType, GGUFWriter

    config, architecture = with_depth(published, depth), ARCHITECTURES[published["model_type"]]
    writer = GGUFWriter(path, architecture)
    _add_values(writer, config, architecture)
    tensors = {name: (shape, _rows(name, shape, kind)) for name, shape in _shapes(config, architecture).items()}
    for name, (shape, rows) in tensors.items():
        raw = GGMLQuantizationType[kind] if len(shape) > 1 else None
        writer.add_tensor_info(name, (shape[0], *rows.shape[1:]), rows.dtype, shape[0] * rows[0].nbytes, raw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for shape, rows in tensors.values():
        writer.write_tensor_data(np.resize(rows, (shape[0], *rows.shape[1:])))
    writer.close()
    return path


def _shapes(config: dict[str, Any], architecture: str) -> dict[str, tuple[int, ...]]:
    """The shapes of all tensors by llama.cpp's names."""
    with torch.device("meta"):
        model = build_model(config)
    names = _names_in_gguf(LAYOUTS[architecture], model.config.num_layers)
    return {names[name]: tuple(weight.shape) for name, weight in model.named_parameters()}


def _names_in_gguf(layout: GgufLayout, depth: int) -> dict[str, str]:
    parts = [f"{part}.{kind}" for part in layout.parts for kind in ("weight", "bias")]
    names = [*layout.top, *(f"blk.{layer}.{part}" for layer in range(depth) for part in parts)]
    return {layout.published_name(name): name for name in names}


def _rows(name: str, shape: tuple[int, ...], kind: str) -> npt.NDArray[Any]:
    """The rows that a tensor repeats."""
    from gguf import GGMLQuantizationType, quantize

    if len(shape) == 1:
        return np.full(shape, 0 if name.endswith("bias") else 1, np.float32)
    numbers = random_pattern().float().numpy()
    rows: npt.NDArray[Any] = quantize(np.resize(numbers, (_ROWS, shape[1])), GGMLQuantizationType[kind])
    return rows


def _add_values(writer: Any, config: dict[str, Any], architecture: str) -> None:
    for key, entry in LAYOUTS[architecture].keys.items():
        value = config.get(entry)
        if value is not None:
            is_float = key in ("rope.freq_base", "attention.layer_norm_rms_epsilon")
            add = writer.add_float32 if is_float else writer.add_uint32
            add(f"{architecture}.{key}", float(value) if is_float else value)
    writer.add_bool(f"{architecture}.attention.causal", False)
    writer.add_bool("diffusion.shift_logits", LAYOUTS[architecture].shifts)
    writer.add_string("tokenizer.ggml.model", "gpt2")
    writer.add_string("tokenizer.ggml.pre", "gpt-2")
    writer.add_array("tokenizer.ggml.tokens", _tokens(config["vocab_size"]))
    writer.add_array("tokenizer.ggml.merges", ["a b"])
    for role in ("mask", "eos"):
        writer.add_uint32(f"tokenizer.ggml.{role}_token_id", config[f"{role}_token_id"])


def _tokens(count: int) -> list[str]:
    """Printable characters, the space as GPT-2 writes it, a pair of letters for the only merge, and names."""
    known = [*map(chr, range(33, 127)), "\u0120", "ab"]
    return [*known, *(f"<{number}>" for number in range(len(known), count))][:count]
