"""The GGUF files of each architecture: what llama.cpp's converter calls the values and tensors of a checkpoint.

Values become a `config.json` in the published spelling, so all checks of that are made once. DreamOn's files say that
they are Dream's: its expand token among the tokens sets them apart.

llama.cpp rotates neighbours of a head where the published LLaDA rotates halves, so the converter has put the rows of
its queries and keys in another order, which is undone here. One head of six rows, published and in the file:

    a0 a1 a2 b0 b1 b2        a0 b0 a1 b1 a2 b2        (a, b) are turned together
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from app.engine.interface.errors import CheckpointError
from app.formats.gguf import GgufFile

EXPAND_TOKEN = "<|expand|>"
_LAYER = re.compile(r"blk\.(\d{1,4})\.(\w+)\.(weight|bias)")


@dataclass(frozen=True, slots=True)
class GgufLayout:
    """One architecture."""

    fixed: Mapping[str, Any]
    """Entries of `config.json` that the file does not say."""
    keys: Mapping[str, str]
    """Entries of `config.json` by the keys of the file, behind the name of the architecture."""
    tied: str
    """The entry that says whether the head is the embedding, which in a file is so where it has no head."""
    mask_names: tuple[str, ...]
    """Names of the mask token, for files that do not say its id."""
    shifts: bool
    """Whether the prediction for a position is read one before it."""
    top: Mapping[str, str]
    """Published names of the tensors that are in no layer."""
    layer: str
    """The beginning of the published names in a layer."""
    parts: Mapping[str, str]
    """Published names in a layer."""
    permuted: frozenset[str] = frozenset()
    """Parts of a layer whose rows are in llama.cpp's order."""

    def published_name(self, name: str) -> str:
        """The published name of a tensor; the file's own, where the architecture has no such tensor."""
        if name in self.top:
            return self.top[name]
        found = _LAYER.fullmatch(name)
        if found is None or found[2] not in self.parts:
            return name
        return f"{self.layer.format(found[1])}.{self.parts[found[2]]}.{found[3]}"

    def is_permuted(self, name: str) -> bool:
        """Whether the rows of a tensor, by its name in the file, are in llama.cpp's order."""
        found = _LAYER.fullmatch(name)
        return found is not None and found[2] in self.permuted


LAYOUTS = {
    "llada": GgufLayout(
        fixed={"model_type": "llada", "architectures": ["LLaDAModelLM"]},
        keys={
            "embedding_length": "d_model",
            "block_count": "n_layers",
            "attention.head_count": "n_heads",
            "attention.head_count_kv": "n_kv_heads",
            "feed_forward_length": "mlp_hidden_size",
            "context_length": "max_sequence_length",
            "rope.freq_base": "rope_theta",
            "attention.layer_norm_rms_epsilon": "rms_norm_eps",
        },
        tied="weight_tying",
        mask_names=("<|mdm_mask|>",),
        shifts=False,
        top={
            "token_embd.weight": "model.transformer.wte.weight",
            "output_norm.weight": "model.transformer.ln_f.weight",
            "output.weight": "model.transformer.ff_out.weight",
        },
        layer="model.transformer.blocks.{}",
        parts={
            "attn_norm": "attn_norm",
            "attn_q": "q_proj",
            "attn_k": "k_proj",
            "attn_v": "v_proj",
            "attn_output": "attn_out",
            "ffn_norm": "ff_norm",
            "ffn_gate": "ff_proj",
            "ffn_up": "up_proj",
            "ffn_down": "ff_out",
        },
        permuted=frozenset({"attn_q", "attn_k"}),
    ),
    "dream": GgufLayout(
        fixed={"model_type": "Dream", "architectures": ["DreamModel"]},
        keys={
            "embedding_length": "hidden_size",
            "block_count": "num_hidden_layers",
            "attention.head_count": "num_attention_heads",
            "attention.head_count_kv": "num_key_value_heads",
            "attention.key_length": "head_dim",
            "feed_forward_length": "intermediate_size",
            "context_length": "max_position_embeddings",
            "rope.freq_base": "rope_theta",
            "attention.layer_norm_rms_epsilon": "rms_norm_eps",
        },
        tied="tie_word_embeddings",
        mask_names=("<|mask|>",),
        shifts=True,
        top={
            "token_embd.weight": "model.embed_tokens.weight",
            "output_norm.weight": "model.norm.weight",
            "output.weight": "lm_head.weight",
        },
        layer="model.layers.{}",
        parts={
            "attn_norm": "input_layernorm",
            "attn_q": "self_attn.q_proj",
            "attn_k": "self_attn.k_proj",
            "attn_v": "self_attn.v_proj",
            "attn_output": "self_attn.o_proj",
            "ffn_norm": "post_attention_layernorm",
            "ffn_gate": "mlp.gate_proj",
            "ffn_up": "mlp.up_proj",
            "ffn_down": "mlp.down_proj",
        },
    ),
}
"""The architectures that are read, by the names that files give them."""


def layout_of(header: GgufFile) -> GgufLayout:
    """The layout of a file's architecture.

    Raises:
        CheckpointError: it is none that is read.
    """
    name = header.value("general.architecture", str, "")
    if name not in LAYOUTS:
        raise CheckpointError(
            f"{header.path.name}: general.architecture={name!r} is not read; those that are: {', '.join(LAYOUTS)}"
        )
    return LAYOUTS[name]


def in_halves(weight: Tensor, num_heads: int) -> Tensor:
    """Rows [heads · D, …] in llama.cpp's order, as they were published."""
    by_pairs = weight.reshape(num_heads, len(weight) // num_heads // 2, 2, *weight.shape[1:])
    return by_pairs.transpose(1, 2).reshape(weight.shape)
