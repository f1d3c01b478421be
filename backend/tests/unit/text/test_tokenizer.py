import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from app.text import TextError, Tokenizer, TokenizerError
from tests.unit.text.folders import CHECKPOINTS, VECTORS, copy_tokenizer, edit_json, write_unigram

TOKENIZERS = {name: Tokenizer.load(VECTORS / name) for name in CHECKPOINTS}
LIBRARIES = {name: tokenizers.Tokenizer.from_file(str(VECTORS / name / "tokenizer.json")) for name in CHECKPOINTS}

checkpoints = st.sampled_from(CHECKPOINTS)
id_lists = st.lists(st.integers(0, 520), max_size=40)
special_names = st.sampled_from(sorted({name for t in TOKENIZERS.values() for name in t.special_tokens}))
texts_with_specials = st.lists(st.text(max_size=6) | special_names | special_names.map(lambda s: s[:5])).map("".join)


def test_roles_of_llada(llada: Tokenizer) -> None:
    assert (llada.bos_id, llada.eos_id, llada.pad_id, llada.mask_id) == (480, 481, 481, 490)
    assert llada.end_of_turn_id == 498
    assert llada.vocab_size == 499
    assert not llada.adds_bos


def test_the_roles_of_dreamon_s_tokens(dreamon: Tokenizer) -> None:
    assert (dreamon.bos_id, dreamon.eos_id, dreamon.pad_id, dreamon.mask_id) == (483, 480, 480, 484)
    assert dreamon.end_of_turn_id == 482
    assert dreamon.special_tokens["<|expand|>"] == 485
    assert dreamon.vocab_size == 486
    assert dreamon.chat_template is None


def test_require_gives_an_id_or_names_the_role(dreamon: Tokenizer, byte_fallback: Tokenizer) -> None:
    assert dreamon.require("mask") == 484
    with pytest.raises(TokenizerError, match="no mask token"):
        byte_fallback.require("mask")


def test_require_says_when_a_named_token_has_no_id(tmp_path: Path) -> None:
    folder = copy_tokenizer("llada-tiny", tmp_path)
    edit_json(folder / "tokenizer_config.json", bos_token="<gone>")
    with pytest.raises(TokenizerError, match=r"no bos token \('<gone>' is named, but has no id\)"):
        Tokenizer.load(folder).require("bos")


def test_check_ids_accepts_the_checkpoint(dreamon: Tokenizer) -> None:
    dreamon.check_ids(vocab_size=486, mask=484, eos=480, expand=485)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"vocab_size": 485}, "ids go up to 485, but the model's vocab_size is 485"),
        ({"mask": 7}, "mask token is 484, but the model's is 7"),
        ({"eos": 7}, "eos 7 is not a special token; the tokenizer's eos is 480"),
        ({"expand": 7}, r"<\|expand\|> is 485, but the model's is 7"),
    ],
)
def test_check_ids_names_both_values(dreamon: Tokenizer, changes: dict[str, int], words: str) -> None:
    ids = {"vocab_size": 512, "mask": 484, "eos": 480, "expand": 485}
    with pytest.raises(TokenizerError, match=words):
        dreamon.check_ids(**(ids | changes))


def test_check_ids_refuses_a_tokenizer_without_the_token(dream: Tokenizer, byte_fallback: Tokenizer) -> None:
    with pytest.raises(TokenizerError, match="is None, but the model's is 485"):
        dream.check_ids(vocab_size=512, mask=484, eos=480, expand=485)
    with pytest.raises(TokenizerError, match="no mask token"):
        byte_fallback.check_ids(vocab_size=512, mask=484, eos=1)


@given(checkpoints, texts_with_specials)
def test_no_added_token_comes_out_of_text(checkpoint: str, text: str) -> None:
    tokenizer = TOKENIZERS[checkpoint]
    assert not set(tokenizer.encode(text)) & set(tokenizer.special_tokens.values())


@given(texts_with_specials)
def test_text_round_trips_to_the_byte(text: str) -> None:
    # LLaDA's tokenizer has no normaliser; Dream's composes characters first.
    llada = TOKENIZERS["llada-tiny"]
    assert llada.decode(llada.encode(text)) == text


@given(checkpoints, texts_with_specials)
def test_parse_special_is_what_the_library_does(checkpoint: str, text: str) -> None:
    expected = LIBRARIES[checkpoint].encode(text, add_special_tokens=False).ids
    assert TOKENIZERS[checkpoint].encode(text, parse_special=True) == expected


@given(checkpoints, st.text().filter(lambda text: "<|" not in text))
def test_text_without_special_tokens_is_encoded_as_the_library_does(checkpoint: str, text: str) -> None:
    expected = LIBRARIES[checkpoint].encode(text, add_special_tokens=False).ids
    assert TOKENIZERS[checkpoint].encode(text) == expected


@given(checkpoints, id_lists, st.booleans())
def test_decode_is_what_the_library_does(checkpoint: str, ids: list[int], skip: bool) -> None:
    expected = LIBRARIES[checkpoint].decode(ids, skip_special_tokens=skip)
    assert TOKENIZERS[checkpoint].decode(ids, skip_special=skip) == expected


@given(checkpoints, texts_with_specials)
def test_between_special_spans_there_is_plain_text(checkpoint: str, text: str) -> None:
    tokenizer = TOKENIZERS[checkpoint]
    names = {token_id: name for name, token_id in tokenizer.special_tokens.items()}
    ids, end = [], 0
    for start, stop, token_id in tokenizer.special_spans(text):
        assert text[start:stop] == names[token_id]
        ids += [*tokenizer.encode(text[end:start]), token_id]
        end = stop
    assert ids + tokenizer.encode(text[end:]) == tokenizer.encode(text, parse_special=True)


def test_control_characters_are_text(any_checkpoint: Tokenizer) -> None:
    text = "a\0b\x1b\x7f\ufeff\uffff"
    assert any_checkpoint.decode(any_checkpoint.encode(text)) == text


def test_the_normaliser_stays(dream: Tokenizer) -> None:
    assert dream.encode("e\u0301") == dream.encode("é")


@pytest.mark.parametrize("call", [Tokenizer.encode, Tokenizer.special_spans])
def test_a_lone_surrogate_is_a_text_error(dream: Tokenizer, call: Callable[[Tokenizer, str], object]) -> None:
    with pytest.raises(TextError, match=r"lone surrogate \(U\+D800\) at character 2"):
        call(dream, "ab\ud800")


def test_added_tokens_that_are_not_special_stay_text_in_text(tmp_path: Path) -> None:
    folder = copy_tokenizer("dream-tiny", tmp_path)
    token = {"content": "<tool_call>", "special": False, "__type": "AddedToken"}
    config = json.loads((folder / "tokenizer_config.json").read_text())
    edit_json(
        folder / "tokenizer_config.json",
        added_tokens_decoder={**config["added_tokens_decoder"], "500": token},
    )
    tokenizer = Tokenizer.load(folder)
    assert 500 not in tokenizer.encode("a<tool_call>b")
    assert tokenizer.encode("a<tool_call>", parse_special=True)[-1] == 500
    assert tokenizer.decode([500]) == "<tool_call>"


@pytest.mark.parametrize("special", [True, False])
def test_added_tokens_in_the_vocabulary_are_not_reached_by_merges_or_whole_words(tmp_path: Path, special: bool) -> None:
    folder = copy_tokenizer("dream-tiny", tmp_path)
    specification = json.loads((folder / "tokenizer.json").read_text())
    model = specification["model"]
    model["vocab"] |= {"Xq": 500, "Xqj": 501}
    model["merges"] = [["X", "q"], ["Xq", "j"], *model["merges"]]
    added = [{**specification["added_tokens"][0], "id": 501, "content": "Xqj", "special": special}]
    edit_json(
        folder / "tokenizer.json",
        model={**model, "ignore_merges": True},
        added_tokens=specification["added_tokens"] + added,
    )
    tokenizer = Tokenizer.load(folder)
    assert tokenizer.encode("Xqj") == [500, *tokenizer.encode("j")]
    assert tokenizer.encode("Xqj", parse_special=True) == [501]


def test_special_pieces_of_a_unigram_stay_text(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(write_unigram(tmp_path))
    assert tokenizer.encode("<s>a", parse_special=True)[0] == tokenizer.bos_id == 1
    ids = tokenizer.encode("<s>a")
    assert 1 not in ids
    assert tokenizer.decode(ids) == "<s>a"


def test_a_vocabulary_that_would_lose_bytes_is_refused(tmp_path: Path) -> None:
    folder = copy_tokenizer("llada-tiny", tmp_path)
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    del model["vocab"]["z"]
    model["merges"] = [merge for merge in model["merges"] if "z" not in "".join(merge)]
    edit_json(folder / "tokenizer.json", model=model)
    with pytest.raises(TokenizerError, match=r"lacks 1 byte\(s\), such as 'z'"):
        Tokenizer.load(folder)


def test_truncation_and_padding_of_the_file_are_ignored(tmp_path: Path) -> None:
    folder = copy_tokenizer("llada-tiny", tmp_path)
    library = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    library.enable_truncation(2)
    library.enable_padding(length=5)
    library.save(str(folder / "tokenizer.json"))
    assert len(Tokenizer.load(folder).encode("12345678")) == 8
    assert len(Tokenizer.load(folder).encode("1")) == 1


def test_token_text_names_specials_and_marks_parts_of_characters(llada: Tokenizer) -> None:
    assert llada.token_text(490) == "<|mdm_mask|>"
    assert llada.token_text(llada.encode("é")[0]) == "\ufffd"
    assert "".join(llada.token_text(i) for i in llada.encode("hello world")) == "hello world"
    assert llada.token_text(511) == ""


def test_other_tokenizers_than_byte_level_work(byte_fallback: Tokenizer) -> None:
    ids = byte_fallback.encode("ab é <s>")
    assert byte_fallback.bos_id not in ids
    assert byte_fallback.decode(ids) == "ab é <s>"
    assert byte_fallback.decode([1, *ids]) == "ab é <s>"
    assert byte_fallback.token_text(1) == "<s>"


def test_threads_can_share_one_tokenizer(dream: Tokenizer) -> None:
    texts = [f"text {number} é <|mask|> {'x' * number}" for number in range(200)]
    expected = [dream.encode(text) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(dream.encode, texts * 5)) == expected * 5
        assert list(pool.map(dream.decode, expected * 5)) == texts * 5
