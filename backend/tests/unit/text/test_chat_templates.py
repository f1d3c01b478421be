"""Templates in the style of published ones, against what Hugging Face transformers made of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.text import Tokenizer
from app.text.chat_template import ChatTemplate, encode_traced
from tests.unit.text.folders import VECTORS, copy_tokenizer

FOLDER = Path(__file__).parent / "chat_templates"
EXPECTED: dict[str, Any] = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))
SPECIAL = Tokenizer.load(VECTORS / "llada-tiny").role_tokens
TEMPLATES = {path.stem: ChatTemplate(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.jinja"))}
NAMES = [*EXPECTED["added_tokens"], "<|eot_id|>", "<|endoftext|>", "<|start_header_id|>"]

pieces = st.sampled_from(NAMES).flatmap(
    lambda name: st.sampled_from([name, name[:3], name[3:], f" {name}\n", "<", ">"])
)
contents = st.lists(st.text(max_size=4) | pieces, max_size=5).map("".join)
conversations = st.lists(contents, min_size=1, max_size=5).map(
    lambda texts: [{"role": ("user", "assistant")[index % 2], "content": text} for index, text in enumerate(texts)]
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = copy_tokenizer("llada-tiny", tmp_path_factory.mktemp("chat"))
    (folder / "added_tokens.json").write_text(json.dumps(EXPECTED["added_tokens"]))
    return Tokenizer.load(folder)


@pytest.mark.parametrize("case", EXPECTED["cases"])
def test_text_and_ids_are_those_of_transformers(tokenizer: Tokenizer, case: str) -> None:
    template, conversation, end = case.split("/")
    expected = EXPECTED["cases"][case]
    text = TEMPLATES[template].render(
        EXPECTED["conversations"][conversation], special=SPECIAL, add_generation_prompt=end == "prompt"
    )
    assert text == expected["text"]
    if "ids" in expected:  # where no message spells an added token, which would be text here, and its id there
        assert encode_traced(tokenizer, text) == expected["ids"]


@pytest.mark.parametrize("name", sorted(TEMPLATES.keys() - {"operations"}))
@settings(max_examples=30, deadline=None)
@given(conversation=conversations)
def test_messages_add_no_special_token(tokenizer: Tokenizer, name: str, conversation: list[dict[str, str]]) -> None:
    """Turns with harmless words give equal special tokens, and the text stays unchanged."""
    special = set(tokenizer.special_tokens.values())
    harmless = [{**turn, "content": "x"} for turn in conversation]
    ids, plain_ids = (
        encode_traced(tokenizer, TEMPLATES[name].render(turns, special=SPECIAL, add_generation_prompt=True))
        for turns in (conversation, harmless)
    )
    rendered = TEMPLATES[name].render(conversation, special=SPECIAL, add_generation_prompt=True)
    assert tokenizer.decode(ids, skip_special=False) == rendered
    thinks = {tokenizer.special_tokens["<think>"], tokenizer.special_tokens["</think>"]}
    # Thoughts are written anew by the template where it finds some.
    counted = special - thinks if name == "qwen3" else special
    assert [i for i in ids if i in counted] == [i for i in plain_ids if i in counted]
