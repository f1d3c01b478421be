"""Trains the byte-level BPE tokenizer and writes it with its companions in the published layout.

Special tokens have the families' names and are at the vocabulary's end, as in the real checkpoints.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

# A newline alone, so that a cut at a line's border never falls inside a token; an optional space with a word or
# with punctuation; digits one by one; runs of spaces whole.
SPLIT = r"\n| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|[^\S\n]+"

SPECIAL_TOKENS: dict[str, dict[str, str]] = {
    "llada": {
        "bos": "<|startoftext|>",
        "eos": "<|endoftext|>",
        "mask": "<|mdm_mask|>",
        "eot": "<|eot_id|>",
        "header_start": "<|start_header_id|>",
        "header_end": "<|end_header_id|>",
    },
    "dream": {
        "eos": "<|endoftext|>",
        "turn_start": "<|im_start|>",
        "turn_end": "<|im_end|>",
        "bos": "<|beginoftext|>",
        "mask": "<|mask|>",
        "expand": "<|expand|>",
    },
}


def train_tokenizer(texts: Iterable[str], vocab_size: int, family: str) -> Tokenizer:
    """The tokenizer, with exactly `vocab_size` ids, special tokens included.

    Raises:
        ValueError: the texts are too few for so many ids.
    """
    special = list(SPECIAL_TOKENS[family].values())
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(special),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in special])
    if tokenizer.get_vocab_size() != vocab_size:
        raise ValueError(f"the texts give {tokenizer.get_vocab_size()} ids; the recipe asks for {vocab_size}")
    return tokenizer


def special_ids(tokenizer: Tokenizer, family: str) -> dict[str, int]:
    """The id of each role of the family."""
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    return {role: vocabulary[text] for role, text in SPECIAL_TOKENS[family].items()}


def write_tokenizer(tokenizer: Tokenizer, family: str, context_length: int, folder: Path) -> None:
    """Writes `tokenizer.json`, `tokenizer_config.json` and `special_tokens_map.json`."""
    tokenizer.save(str(folder / "tokenizer.json"))
    roles = SPECIAL_TOKENS[family]
    named = {"bos_token": roles["bos"], "eos_token": roles["eos"], "pad_token": roles["eos"]}
    if family == "dream":
        named["mask_token"] = roles["mask"]
    decoder = {str(tokenizer.token_to_id(text)): _entry(text) | {"special": True} for text in roles.values()}
    config = {
        "add_bos_token": True,
        "add_eos_token": False,
        "added_tokens_decoder": decoder,
        "additional_special_tokens": [text for text in roles.values() if text not in named.values()],
        **named,
        "clean_up_tokenization_spaces": False,
        "model_max_length": context_length,
        "padding_side": "left" if family == "llada" else "right",
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    _write(folder / "tokenizer_config.json", config)
    _write(folder / "special_tokens_map.json", {role: _entry(text) for role, text in named.items()})


def _entry(text: str) -> dict[str, Any]:
    return {"content": text, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False}


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
