import shutil
from pathlib import Path

import pytest

from app.text import PromptIds, Tokenizer, TokenizerError, continuation, infilling
from app.text.prompt import chat
from tests.unit.text.folders import VECTORS


def test_continuation_is_the_text_and_nothing_else(llada: Tokenizer) -> None:
    ids = tuple(llada.encode("hello world"))
    assert continuation(llada, "hello world", bos=False) == PromptIds(ids, (), len(ids))


def test_continuation_begins_with_bos_where_asked(dreamon: Tokenizer) -> None:
    ids = (483, *dreamon.encode("hello"))
    assert continuation(dreamon, "hello", bos=True) == PromptIds(ids, (), len(ids))


def test_infilling_encodes_both_sides_apart(dreamon: Tokenizer) -> None:
    prompt = infilling(dreamon, "ret", "urn x", bos=True, eos=True)
    assert prompt.prefix == (483, *dreamon.encode("ret"))
    assert prompt.suffix == (*dreamon.encode("urn x"), 480)
    assert prompt.num_prompt_tokens == len(prompt.prefix) + len(prompt.suffix)


def test_one_side_may_be_empty(llada: Tokenizer) -> None:
    assert infilling(llada, "", "b", bos=False, eos=False) == PromptIds((), tuple(llada.encode("b")), 1)
    assert infilling(llada, "", "", bos=False, eos=True) == PromptIds((), (481,), 1)


def test_special_tokens_in_a_prompt_are_text(dreamon: Tokenizer) -> None:
    prompt = infilling(dreamon, "a<|mask|>", "<|endoftext|>", bos=False, eos=False)
    assert not {*prompt.prefix, *prompt.suffix} & set(dreamon.special_tokens.values())


def test_a_missing_role_is_an_error(byte_fallback: Tokenizer) -> None:
    with pytest.raises(TokenizerError, match="no eos token"):
        infilling(byte_fallback, "a", "b", bos=True, eos=True)


def test_a_conversation_is_cut_and_its_template_is_not(tmp_path: Path) -> None:
    folder = shutil.copytree(VECTORS / "dreamon-tiny", tmp_path / "with template")
    template = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>"
    (folder / "chat_template.jinja").write_text(template)
    tokenizer = Tokenizer.load(folder)
    system = {"role": "system", "content": "Be brief."}
    messages = [system, *({"role": role, "content": "word " * 20} for role in ("user", "assistant", "user"))]
    whole = chat(tokenizer, messages)
    newest = chat(tokenizer, [system, messages[3]])
    room = len(newest.prefix) - 5
    cut = chat(tokenizer, messages, room=room)
    assert len(cut.prefix) <= room
    assert (cut.num_prompt_tokens, cut.num_left_out) == (len(whole.prefix), len(whole.prefix) - len(cut.prefix))
    markers = [token for token in newest.prefix if token in tokenizer.special_tokens.values()]
    assert [token for token in cut.prefix if token in tokenizer.special_tokens.values()] == markers
    assert "Be brief." in tokenizer.decode(cut.prefix)
    assert chat(tokenizer, messages, room=len(whole.prefix)) == whole


def test_markers_are_the_tokens_that_stand_for_no_text(dreamon: Tokenizer) -> None:
    assert {"<|endoftext|>", "<|mask|>"} <= set(dreamon.markers) <= set(dreamon.special_tokens)
