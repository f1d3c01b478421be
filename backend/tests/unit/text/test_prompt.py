import pytest

from app.text import PromptIds, Tokenizer, TokenizerError, continuation, infilling


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
