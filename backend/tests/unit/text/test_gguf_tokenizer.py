from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gguf", reason="needs the extra gguf")

from app.text.errors import TokenizerError
from app.text.tokenizer import Tokenizer
from tests.unit.engine.checkpoints import CHECKPOINTS
from tests.unit.engine.gguf_files import write_gguf

TEXT = "Hello wörld, it's 12345 lines\n\n  def f(x):\n\treturn x  ’ 中文 <|endoftext|> don't"
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, **changes: Any) -> Path:
        return write_gguf(tmp_path / "model.gguf", CHECKPOINTS[name], **changes)

    return write


@pytest.mark.parametrize("name", ["llada-tiny", "dream-tiny", "dreamon-tiny"])
def test_the_tokenizer_in_a_file_is_that_of_the_checkpoint(name: str, write: Write) -> None:
    published, own = Tokenizer.load(CHECKPOINTS[name]), Tokenizer.load(write(name))
    for parse_special in (False, True):
        ids = published.encode(TEXT, parse_special=parse_special)
        assert own.encode(TEXT, parse_special=parse_special) == ids
        assert own.decode(ids) == published.decode(ids)
    assert own.special_tokens == published.special_tokens
    assert own.vocab_size == published.vocab_size
    roles = ("bos_id", "eos_id", "pad_id", "mask_id", "end_of_turn_id", "chat_template", "adds_bos", "markers")
    assert {role: getattr(own, role) for role in roles} == {role: getattr(published, role) for role in roles}


def test_names_that_fill_the_rows_of_the_head_are_no_text(write: Write) -> None:
    tokenizer = Tokenizer.load(write("llada-tiny"))
    assert tokenizer.decode([510]) == ""
    assert len(tokenizer.encode("[PAD510]")) > 1


def test_a_tokenizer_beside_the_file_is_read_instead(write: Write) -> None:
    path = write("llada-tiny", **{"tokenizer.ggml.pre": "another"})
    (path.parent / "tokenizer.json").write_bytes((CHECKPOINTS["llada-tiny"] / "tokenizer.json").read_bytes())
    assert Tokenizer.load(path).encode(TEXT) == Tokenizer.load(CHECKPOINTS["llada-tiny"]).encode(TEXT)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tokenizer.ggml.tokens": None}, "has no tokenizer; put the checkpoint's tokenizer.json into its folder"),
        ({"tokenizer.ggml.model": "llama"}, "tokenizer.ggml.model='llama' is not read, only gpt2"),
        ({"tokenizer.ggml.pre": "mistral"}, "tokenizer.ggml.pre='mistral' is not read, only gpt-2 and qwen2"),
        ({"tokenizer.ggml.token_type": [1, 1]}, "512 tokens have 2 types"),
    ],
)
def test_a_tokenizer_that_is_not_read_is_refused_by_its_name(changes: dict[str, Any], said: str, write: Write) -> None:
    with pytest.raises(TokenizerError, match=r"model\.gguf") as caught:
        Tokenizer.load(write("llada-tiny", **changes))
    assert said in str(caught.value)


def test_a_file_that_was_cut_off_is_refused(write: Write) -> None:
    path = write("llada-tiny")
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(TokenizerError, match="was cut off"):
        Tokenizer.load(path)
