from typing import Any

import pytest

from app.text import TokenizerError
from app.text.specification import is_byte_level, parse_merges, text_only, with_added_tokens

SPECIFICATION: dict[str, Any] = {
    "added_tokens": [{"id": 2, "content": "<s>", "special": False, "lstrip": True}],
    "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []},
}


def test_other_files_add_tokens_and_may_only_make_known_ones_special() -> None:
    declared = [{"id": 2, "content": "<s>", "special": True, "lstrip": False}, {"id": 9, "content": "<m>"}]
    result = with_added_tokens(SPECIFICATION, declared, [])
    assert [(t["id"], t["content"], t["special"], t["lstrip"]) for t in result["added_tokens"]] == [
        (2, "<s>", True, True),
        (9, "<m>", True, False),
    ]


def test_a_named_role_makes_a_vocabulary_entry_special_unless_it_is_one_character() -> None:
    model = {"type": "BPE", "vocab": {"!": 0, "<pad>": 1}, "merges": []}
    result = with_added_tokens({**SPECIFICATION, "model": model}, [], ["!", "<pad>", "absent"])
    assert [t["content"] for t in result["added_tokens"] if t["special"]] == ["<pad>"]


@pytest.mark.parametrize(
    ("declared", "words"),
    [({"id": 3, "content": "<s>"}, "'<s>' has two ids: 2 and 3"), ({"id": 2, "content": "<m>"}, "share the id 2")],
)
def test_contradicting_ids_are_refused(declared: dict[str, Any], words: str) -> None:
    with pytest.raises(TokenizerError, match=words):
        with_added_tokens(SPECIFICATION, [declared], [])


def test_text_only_drops_added_tokens_from_the_vocabulary_and_the_merges() -> None:
    model = {
        "type": "BPE",
        "vocab": {"a": 0, "b": 1, "ab": 2, "aba": 3, "!": 4},
        "merges": [["a", "b"], "ab a", "b b"],
    }
    added = [{"id": 2, "content": "ab"}, {"id": 4, "content": "!"}]
    result = text_only({"added_tokens": added, "model": model})
    assert result["added_tokens"] == []
    assert result["model"] == {
        "type": "BPE",
        "vocab": {"a": 0, "b": 1, "aba": 3, "!": 4},
        "merges": ["b b"],
    }


def test_text_only_keeps_the_token_for_unknown_text() -> None:
    model = {"type": "WordLevel", "vocab": {"<unk>": 0, "a": 1}, "unk_token": "<unk>"}
    assert text_only({"added_tokens": [{"id": 0, "content": "<unk>"}], "model": model})["model"] == model


def test_merges_may_begin_with_a_version_and_with_a_hash() -> None:
    assert parse_merges("#version: 0.2\na b\r\n# #\n\n") == [["a", "b"], ["#", "#"]]


def test_a_merge_of_three_is_refused() -> None:
    with pytest.raises(ValueError, match="'a b c' is not two tokens"):
        parse_merges("a b c")


def test_byte_level_is_known_by_the_decoder() -> None:
    assert is_byte_level(SPECIFICATION)
    assert not is_byte_level({"decoder": None})
    assert not is_byte_level({"decoder": {"type": "Metaspace"}})
