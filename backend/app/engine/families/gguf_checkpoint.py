"""A GGUF as a checkpoint: its config in the published spelling, and its tensors under their published names.

Numbers that are stored as floats stay mapped, as those of safetensors do. Quantised ones are made float32 tensor by
tensor by llama.cpp's own package `gguf`, and then what the settings say; nothing computes in the file's types.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from app.engine.families.gguf_layouts import EXPAND_TOKEN, GgufLayout, in_halves, layout_of
from app.engine.interface.errors import CheckpointError
from app.formats.gguf import QUANTISED_TYPES, GgufError, GgufFile, StoredTensor, read_header

_NUMPY_TYPES = {"F32": np.float32, "F16": np.float16, "BF16": np.int16}
_ROLES = {"mask_token_id": "mask_token_id", "eos_token_id": "eos_token_id", "padding_token_id": "pad_token_id"}
"""Entries of `config.json` by the keys of the file behind `tokenizer.ggml.`; the beginning of text has no role here."""
_TOKENS = "tokenizer.ggml.tokens"
_NEEDS_GGUF = "is quantised, which the package gguf reads: pip install 'reynard-diffusion[gguf]'"


def read_gguf_config(path: Path) -> dict[str, Any]:
    """Gives what a `config.json` would say.

    Raises:
        CheckpointError: the file is damaged or cut off, of an architecture that is not read, lacks a key, or asks for
            something that is not computed.
    """
    with _said_of_checkpoint():
        header = read_header(path)
        layout, architecture = layout_of(header), header.values["general.architecture"]
        _refuse_variants(header, layout, architecture)
        sizes = {
            entry: header.value(f"{architecture}.{key}", (int, float))
            for key, entry in layout.keys.items()
            if f"{architecture}.{key}" in header.values
        }
        _require(header, layout, architecture)
        tied = {layout.tied: "output.weight" not in header.tensors}
        width = {"vocab_size": header.tensors["token_embd.weight"].shape[0]}
        return {**layout.fixed, **sizes, **width, **tied, **_roles(header, layout)}


class GgufWeights:
    """The tensors of a GGUF under their published names, with the methods of an open safetensors file.

    Raises:
        CheckpointError: see `read_gguf_config`.
    """

    def __init__(self, path: Path) -> None:
        with _said_of_checkpoint():
            self._header = read_header(path)
            self._layout = layout_of(self._header)
        self._names = {self._layout.published_name(name): name for name in self._header.tensors}

    def __enter__(self) -> GgufWeights:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is closed: the file stays mapped for as long as a tensor is there."""

    def keys(self) -> list[str]:
        return list(self._names)

    def get_slice(self, name: str) -> GgufSlice:
        return GgufSlice(self._header.tensors[self._names[name]])

    def get_tensor(self, name: str) -> Tensor:
        """The numbers of a tensor: mapped, where they are floats; float32, where they were quantised."""
        own_name = self._names[name]
        stored = self._header.tensors[own_name]
        weight = self._unpacked(stored) if stored.kind.name in QUANTISED_TYPES else self._mapped(stored)
        return in_halves(weight, self._num_heads(own_name)) if self._layout.is_permuted(own_name) else weight

    @cached_property
    def _bytes(self) -> np.memmap[Any, np.dtype[np.uint8]]:
        return np.memmap(self._header.path, mode="c", dtype=np.uint8)  # copied on write, which nobody does

    def _mapped(self, stored: StoredTensor) -> Tensor:
        content = self._bytes[stored.start : stored.start + stored.num_bytes].view(_NUMPY_TYPES[stored.kind.name])
        weight = torch.from_numpy(content.reshape(stored.shape))
        return weight.view(torch.bfloat16) if stored.kind.name == "BF16" else weight

    def _unpacked(self, stored: StoredTensor) -> Tensor:
        from gguf import GGMLQuantizationType, dequantize  # optional, and slow to import

        content = self._bytes[stored.start : stored.start + stored.num_bytes].reshape(*stored.shape[:-1], -1)
        return torch.from_numpy(dequantize(content, GGMLQuantizationType[stored.kind.name]))

    def _num_heads(self, name: str) -> int:
        key = "head_count_kv" if ".attn_k." in name else "head_count"
        architecture = self._header.values["general.architecture"]
        num_heads: int = self._header.value(f"{architecture}.attention.{key}", int)
        return num_heads


class GgufSlice:
    """The shape and the type of a tensor, with the methods of a slice of a safetensors file."""

    def __init__(self, stored: StoredTensor) -> None:
        self._stored = stored

    def get_shape(self) -> tuple[int, ...]:
        return self._stored.shape

    def get_dtype(self) -> str:
        return self._stored.kind.name


def _roles(header: GgufFile, layout: GgufLayout) -> dict[str, int]:
    """The ids of tokens with a role, as far as the file says them or has a token by their name."""
    found = {entry: header.value(f"tokenizer.ggml.{key}", int) for key, entry in _ROLES.items()}
    roles = {entry: token_id for entry, token_id in found.items() if token_id is not None}
    tokens = header.strings(_TOKENS)
    if not tokens:
        raise CheckpointError(
            f"{header.path.name} has no tokenizer: {_TOKENS} is missing; convert it with its tokenizer"
        )
    ids = {token: index for index, token in enumerate(tokens)}
    named = next((ids[name] for name in layout.mask_names if name in ids), None)
    if "mask_token_id" not in roles:
        if named is None:
            raise CheckpointError(
                f"{header.path.name} lacks tokenizer.ggml.mask_token_id, and no token is {layout.mask_names[0]!r}"
            )
        roles["mask_token_id"] = named
    if layout.shifts and EXPAND_TOKEN in ids:
        roles["expand_token_id"] = ids[EXPAND_TOKEN]
    return roles


def _require(header: GgufFile, layout: GgufLayout, architecture: str) -> None:
    """Raises CheckpointError where a key that every file has, the embedding, or a package that it needs is missing."""
    optional = ("attention.key_length", "attention.head_count_kv")
    missing = [f"{architecture}.{key}" for key in layout.keys if key not in optional]
    missing = [key for key in [*missing, "tokenizer.ggml.eos_token_id"] if key not in header.values]
    if missing:
        raise CheckpointError(f"{header.path.name} lacks {', '.join(missing)}; convert it again with a newer llama.cpp")
    if "token_embd.weight" not in header.tensors:
        raise CheckpointError(f"{header.path.name} lacks the tensor token_embd.weight")
    quantised = [name for name, tensor in header.tensors.items() if tensor.kind.name in QUANTISED_TYPES]
    if quantised and find_spec("gguf") is None:
        raise CheckpointError(f"{header.path.name}: {quantised[0]!r} {_NEEDS_GGUF}")


def _refuse_variants(header: GgufFile, layout: GgufLayout, architecture: str) -> None:
    """Raises CheckpointError where the file asks for something that the network does not compute."""
    scaling = f"{architecture}.rope.scaling.type"
    refused = {f"{architecture}.attention.causal": True, "diffusion.shift_logits": not layout.shifts}
    for key, value in refused.items():
        if header.value(key, bool) is value:
            raise CheckpointError(f"{header.path.name}: {key} is {value}, which is not computed for {architecture}")
    if header.value(scaling, str, "none") != "none":
        raise CheckpointError(
            f"{header.path.name}: {scaling} is {header.values[scaling]!r}; scaled positions are not computed"
        )
    if any(name.startswith("rope_") for name in header.tensors):
        raise CheckpointError(f"{header.path.name}: it has factors for its positions, which are not computed")


@contextmanager
def _said_of_checkpoint() -> Iterator[None]:
    try:
        yield
    except GgufError as error:
        raise CheckpointError(str(error)) from error
