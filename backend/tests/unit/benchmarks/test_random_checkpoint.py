from __future__ import annotations

from pathlib import Path

import pytest
import torch

from app.engine.families.checkpoint import load_model
from app.text import Tokenizer
from benchmarks.random_checkpoint import write_checkpoint
from benchmarks.shapes import BLOCK_CAUSAL

TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 16,
    "vocab_size": 600,
    "head_dim": 4,
}


@pytest.mark.parametrize("shape", BLOCK_CAUSAL)
def test_a_random_checkpoint_is_read_with_the_ids_of_its_tokenizer(shape: str, tmp_path: Path) -> None:
    write_checkpoint(tmp_path, {**BLOCK_CAUSAL[shape], **TINY})
    config = load_model(tmp_path, torch.device("cpu"), torch.bfloat16).config
    tokenizer = Tokenizer.load(tmp_path)
    special = config.special
    tokenizer.check_ids(vocab_size=config.vocab_size, mask=special.mask, eos=special.eos)
    assert special.unusable == tuple(range(tokenizer.vocab_size, 600))
