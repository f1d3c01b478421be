"""iLLaDA's published shape, and the files of a small one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from app.engine.families.build import build_model
from app.engine.families.checkpoint import load_model
from app.engine.families.illada import ILLADA
from app.engine.families.registry import family_of, read_config
from app.engine.interface.errors import CheckpointError
from tests.unit.engine.checkpoints import write_checkpoint

SMALL: Mapping[str, Any] = {
    "architectures": ["ILLaDAForCausalLM"], "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 1, "intermediate_size": 16, "vocab_size": 12, "max_position_embeddings": 64,
    "eos_token_id": 2, "tie_word_embeddings": True, "layer_norm_eps": None,
}  # fmt: skip


def test_its_true_shape_has_the_parameters_of_its_card() -> None:
    """7.62 billion, 6.98 of them beside the embedding, which is the head too."""
    shape = {
        "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
        "intermediate_size": 14_336, "vocab_size": 155_136, "max_position_embeddings": 8192,
    }  # fmt: skip
    with torch.device("meta"):
        model = build_model({**SMALL, **shape, "mask_token_id": 5})
    count = sum(weight.numel() for weight in model.parameters())
    embedding = 155_136 * 4096
    assert (round(count / 1e9, 2), round((count - embedding) / 1e9, 2)) == (7.62, 6.98)
    assert (model.config.family, model.config.context_length, model.config.block_length) == ("illada", 8192, None)


def test_its_mask_is_named_by_the_tokenizer_alone(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, {**SMALL, "mask_token_id": 5})
    (folder / "config.json").write_text(json.dumps(SMALL))
    with pytest.raises(
        CheckpointError, match=r"config.json lacks 'mask_token_id', and no file of the tokenizer says it"
    ):
        read_config(folder)
    (folder / "added_tokens.json").write_text(json.dumps({"<[MASK]>": 5}))
    model = load_model(folder, torch.device("cpu"), torch.float32)
    assert (model.config.special.mask, model.config.special.ends) == (5, (2,))


@pytest.mark.parametrize("name", ["iLLaDA", "illada", "ILLaDAForCausalLM"])
def test_it_is_known_by_its_names(name: str) -> None:
    assert family_of({"model_type": name}) is ILLADA
    assert family_of({"architectures": [name]}) is ILLADA


def test_a_norm_that_is_not_computed_is_refused() -> None:
    with pytest.raises(CheckpointError, match="layer_norm_eps=1e-05 is not supported for iLLaDA; expected None"):
        build_model({**SMALL, "mask_token_id": 5, "layer_norm_eps": 1e-5})
