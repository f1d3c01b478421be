"""Text, ids and chat templates against what the reference tokenizers give (`goldens/tokenizer.json`)."""

from __future__ import annotations

import json
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

from app.text import Detokenizer, Tokenizer, encode_chat, render_chat

VECTORS = Path(__file__).parent / "vectors"
GOLDENS: dict[str, dict[str, Any]] = {
    f"{folder}{golden['checkpoint']}": golden
    for folder in ("", "block/")
    for golden in json.loads((VECTORS / folder / "goldens" / "tokenizer.json").read_text())["tokenizers"]
}

OPTIONS = {"tools", "enable_thinking"}


@pytest.fixture(params=sorted(GOLDENS))
def checkpoint(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def golden(checkpoint: str) -> dict[str, Any]:
    return GOLDENS[checkpoint]


@pytest.fixture
def tokenizer(checkpoint: str) -> Tokenizer:
    return Tokenizer.load(VECTORS / checkpoint)


def test_encode_and_decode(tokenizer: Tokenizer, golden: dict[str, Any]) -> None:
    for case in golden["encode"]:
        assert tokenizer.encode(case["text"], parse_special=True) == case["ids"]
        assert tokenizer.decode(case["ids"], skip_special=False) == case["decoded"]
        assert tokenizer.decode(case["ids"]) == case["decoded_skip_special"]


def test_ids_agree_with_the_model(tokenizer: Tokenizer, checkpoint: str, golden: dict[str, Any]) -> None:
    config = json.loads((VECTORS / checkpoint / "config.json").read_text())
    assert tokenizer.token_text(tokenizer.require("mask")) == golden["mask_token"]
    tokenizer.check_ids(
        vocab_size=config["vocab_size"],
        mask=config.get("mask_token_id", golden.get("mask_token_id")),
        eos=config["eos_token_id"],
        expand=config.get("expand_token_id"),
    )


@pytest.mark.parametrize("checkpoint", [name for name in sorted(GOLDENS) if "chat" in GOLDENS[name]])
def test_chat(tokenizer: Tokenizer, golden: dict[str, Any]) -> None:
    for case in [*golden["chat"], *golden.get("chat_with_options", [])]:
        flag, options = case["add_generation_prompt"], {key: case[key] for key in OPTIONS & case.keys()}
        text = render_chat(
            tokenizer.chat_template or "",
            case["messages"],
            special=tokenizer.role_tokens,
            add_generation_prompt=flag,
            options=options,
        )
        assert text == case["text"]
        assert encode_chat(tokenizer, case["messages"], flag, options) == case["ids"]


def test_decodes_of_growing_prefixes(tokenizer: Tokenizer, golden: dict[str, Any]) -> None:
    for case in golden["incremental"]:
        lengths = range(len(case["ids"]) + 1)
        decodes = [tokenizer.decode(case["ids"][:length], skip_special=False) for length in lengths]
        assert decodes == case["prefix_decodes"]


def test_streamed_text_grows_towards_the_last_decode(tokenizer: Tokenizer, golden: dict[str, Any]) -> None:
    for case in golden["incremental"]:
        detokenizer = Detokenizer(tokenizer)
        shown = list(accumulate(detokenizer.feed([token_id]) for token_id in case["ids"]))
        decodes = [tokenizer.decode(case["ids"][:length]) for length in range(1, len(case["ids"]) + 1)]
        # Each decode is the text so far, plus U+FFFD where a character is still open.
        assert shown == [decode.rstrip("\ufffd") for decode in decodes]
        assert shown[-1] + detokenizer.flush() == decodes[-1]


@pytest.mark.parametrize(
    "checkpoint",
    ["dream-tiny", "dreamon-tiny", "block/sdar-tiny", "block/sdar-tiny-tied", "block/fast-dllm-v2-tiny"],
)
def test_vocabulary_and_merges_give_the_same_as_tokenizer_json(
    tokenizer: Tokenizer, checkpoint: str, golden: dict[str, Any], tmp_path: Path
) -> None:
    for file in (VECTORS / checkpoint).iterdir():
        if file.name != "tokenizer.json" and file.suffix in {".json", ".txt"}:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    built = Tokenizer.load(tmp_path)
    assert built.special_tokens == tokenizer.special_tokens
    assert built.vocab_size == tokenizer.vocab_size
    for case in golden["encode"]:
        assert built.encode(case["text"], parse_special=True) == case["ids"]
        assert built.encode(case["text"]) == tokenizer.encode(case["text"])
        assert built.decode(case["ids"], skip_special=False) == case["decoded"]
        assert built.decode(case["ids"]) == case["decoded_skip_special"]
