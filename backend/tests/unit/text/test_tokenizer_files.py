import json
import re
from pathlib import Path

import pytest

from app.text import Tokenizer, TokenizerError
from app.text import tokenizer_files as module
from app.text.tokenizer_files import read_tokenizer_files
from tests.unit.text.folders import copy_tokenizer, edit_json


def test_config_wins_over_the_special_tokens_map_and_null_does_not(tmp_path: Path) -> None:
    folder = copy_tokenizer("llada-tiny", tmp_path)
    edit_json(folder / "tokenizer_config.json", eos_token={"content": "<|eot_id|>"}, bos_token=None)
    roles = read_tokenizer_files(folder).role_tokens
    assert roles["eos_token"] == "<|eot_id|>"
    assert roles["bos_token"] == "<|startoftext|>"


def test_the_small_files_may_be_absent(tmp_path: Path) -> None:
    folder = copy_tokenizer("llada-tiny", tmp_path, without=("tokenizer_config.json", "special_tokens_map.json"))
    files = read_tokenizer_files(folder)
    assert files.role_tokens == {}
    assert files.adds_bos is False
    assert files.chat_template is None


def test_tokens_known_only_to_added_tokens_json_are_special(tmp_path: Path) -> None:
    folder = copy_tokenizer("dreamon-tiny", tmp_path, without=("tokenizer.json", "tokenizer_config.json"))
    tokenizer = Tokenizer.load(folder)
    assert tokenizer.decode([tokenizer.special_tokens["<|expand|>"]]) == ""


def test_ids_with_a_gap_are_kept(tmp_path: Path) -> None:
    folder = copy_tokenizer("dreamon-tiny", tmp_path, without=("tokenizer.json",))
    edit_json(folder / "added_tokens.json", **{"<|late|>": 505})
    assert Tokenizer.load(folder).special_tokens["<|late|>"] == 505


@pytest.mark.parametrize("without", [(), ("tokenizer.json",)])
def test_an_older_name_of_a_listed_token_is_not_read(tmp_path: Path, without: tuple[str, ...]) -> None:
    tokenizer = Tokenizer.load(copy_tokenizer("block/sdar-tiny", tmp_path, without=without))
    assert tokenizer.special_tokens["<|MASK|>"] == tokenizer.mask_id == 491
    assert "<MASK>" not in tokenizer.special_tokens


def test_template_comes_from_its_own_file_first(tmp_path: Path) -> None:
    folder = copy_tokenizer("llada-tiny", tmp_path)
    (folder / "chat_template.jinja").write_text("own file")
    assert read_tokenizer_files(folder).chat_template == "own file"


def test_the_default_of_several_named_templates_is_used(tmp_path: Path) -> None:
    folder = copy_tokenizer("llada-tiny", tmp_path)
    named = [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]
    edit_json(folder / "tokenizer_config.json", chat_template=named)
    assert read_tokenizer_files(folder).chat_template == "d"
    edit_json(folder / "tokenizer_config.json", chat_template=named[:1])
    assert read_tokenizer_files(folder).chat_template is None


NAMED = [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "of the config"}]


@pytest.mark.parametrize(
    ("files", "declared", "expected"),
    [
        ({}, None, None),
        ({}, "of the config", "of the config"),
        ({}, NAMED, "of the config"),
        ({"chat_template.jinja": "own file"}, NAMED, "own file"),
        ({"chat_template.json": '{"chat_template": "legacy"}'}, None, "legacy"),
        ({"chat_template.json": '{"chat_template": "legacy"}'}, "of the config", "of the config"),
        ({"additional_chat_templates/rag.jinja": "r", "chat_template.jinja": "own file"}, None, "own file"),
        ({"additional_chat_templates/default.jinja": "d"}, "of the config", "d"),
    ],
)
def test_the_default_template_is_that_of_transformers(
    tmp_path: Path, files: dict[str, str], declared: object, expected: str | None
) -> None:
    folder = copy_tokenizer("llada-tiny", tmp_path)
    edit_json(folder / "tokenizer_config.json", chat_template=declared)
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    assert read_tokenizer_files(folder).chat_template == expected


@pytest.mark.parametrize(
    ("files", "declared", "words"),
    [
        ({}, NAMED[:1], r"none of the chat templates \(tool_use\) is called default"),
        ({"additional_chat_templates/rag.jinja": "r"}, "of the config", r"none of the chat templates \(rag\)"),
        ({}, [], "is called default"),
        ({}, "", "the chat template is empty"),
        ({"chat_template.jinja": " \n"}, "of the config", "the chat template is empty"),
    ],
)
def test_a_template_that_is_not_used_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, files: dict[str, str], declared: object, words: str
) -> None:
    folder = copy_tokenizer("llada-tiny", tmp_path)
    edit_json(folder / "tokenizer_config.json", chat_template=declared)
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    assert read_tokenizer_files(folder).chat_template is None
    assert re.search(words, caplog.text)


@pytest.mark.parametrize(
    "declared",
    [
        {"additional_special_tokens": ["<tool_call>"]},
        {"extra_special_tokens": [{"content": "<tool_call>"}]},
        {"extra_special_tokens": {"tool_token": "<tool_call>"}},
    ],
)
def test_more_special_tokens_are_found_under_both_names(tmp_path: Path, declared: dict[str, object]) -> None:
    folder = copy_tokenizer("dream-tiny", tmp_path)
    token = {"content": "<tool_call>", "special": False}
    edit_json(folder / "tokenizer_config.json", added_tokens_decoder={"520": token}, **declared)
    tokenizer = Tokenizer.load(folder)
    assert tokenizer.decode([tokenizer.special_tokens["<tool_call>"]]) == ""


def test_add_bos_token_is_read(tmp_path: Path) -> None:
    folder = copy_tokenizer("llada-tiny", tmp_path)
    edit_json(folder / "tokenizer_config.json", add_bos_token=True)
    assert Tokenizer.load(folder).adds_bos


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"])
@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[]", b"[" * 100_000], ids=["cut", "bytes", "list", "deep"])
def test_damaged_json_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    folder = copy_tokenizer("llada-tiny", tmp_path)
    (folder / name).write_bytes(content)
    with pytest.raises(TokenizerError, match=name):
        Tokenizer.load(folder)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("tokenizer.json", {"model": None}),
        ("tokenizer.json", {"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}}),
        ("tokenizer.json", {"model": {"type": "BPE", "vocab": {}, "merges": []}}),
        ("tokenizer.json", {"added_tokens": [{"content": "x"}]}),
        ("tokenizer.json", {"added_tokens": 3}),
        ("tokenizer.json", {"decoder": 3}),
        ("tokenizer_config.json", {"added_tokens_decoder": {"x": {"content": "y"}}}),
        ("tokenizer_config.json", {"added_tokens_decoder": [1]}),
        ("tokenizer_config.json", {"bos_token": 3}),
        ("tokenizer_config.json", {"chat_template": 3}),
        ("tokenizer_config.json", {"chat_template": [{"name": "default"}]}),
        ("special_tokens_map.json", {"additional_special_tokens": [{}]}),
    ],
)
def test_wrong_content_is_named(tmp_path: Path, name: str, changes: dict[str, object]) -> None:
    folder = copy_tokenizer("llada-tiny", tmp_path)
    edit_json(folder / name, **changes)
    with pytest.raises(TokenizerError, match=name):
        Tokenizer.load(folder)


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt", "added_tokens.json"])
def test_damaged_vocabulary_files_are_named(tmp_path: Path, name: str) -> None:
    folder = copy_tokenizer("dream-tiny", tmp_path, without=("tokenizer.json",))
    (folder / name).write_text("one two three")
    with pytest.raises(TokenizerError, match=name):
        Tokenizer.load(folder)


def test_a_merge_of_unknown_tokens_is_refused(tmp_path: Path) -> None:
    folder = copy_tokenizer("dream-tiny", tmp_path, without=("tokenizer.json",))
    with (folder / "merges.txt").open("a") as file:
        file.write("qq zz\n")
    with pytest.raises(TokenizerError, match="refuses it: Token `qq` out of vocabulary"):
        Tokenizer.load(folder)


def test_a_file_on_which_the_library_panics_is_refused(tmp_path: Path) -> None:
    folder = copy_tokenizer("dreamon-tiny", tmp_path)
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    edit_json(folder / "tokenizer.json", model={**model, "continuing_subword_prefix": "longer than any token" * 3})
    with pytest.raises(TokenizerError, match="refuses it"):
        Tokenizer.load(folder)


def test_two_files_with_different_ids_are_refused(tmp_path: Path) -> None:
    folder = copy_tokenizer("dream-tiny", tmp_path)
    edit_json(folder / "added_tokens.json", **{"<|mask|>": 490})
    with pytest.raises(TokenizerError, match=r"'<\|mask\|>' has two ids: 484 and 490"):
        Tokenizer.load(folder)


def test_an_added_token_with_another_id_in_the_vocabulary_is_refused(tmp_path: Path) -> None:
    folder = copy_tokenizer("dream-tiny", tmp_path, without=("tokenizer.json",))
    vocab = json.loads((folder / "vocab.json").read_text())
    (folder / "vocab.json").write_text(json.dumps(vocab | {"<|mask|>": 500}))
    with pytest.raises(TokenizerError, match=r"'<\|mask\|>' has the id 484, but the vocabulary gives it 500"):
        Tokenizer.load(folder)


def test_missing_vocabulary_is_named(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"neither tokenizer\.json nor vocab\.json"):
        Tokenizer.load(tmp_path)
    folder = copy_tokenizer("dream-tiny", tmp_path, without=("tokenizer.json", "merges.txt"))
    with pytest.raises(TokenizerError, match=r"merges\.txt is missing"):
        Tokenizer.load(folder)


def test_a_file_over_the_size_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copy_tokenizer("llada-tiny", tmp_path)
    monkeypatch.setattr(module, "_FILE_LIMIT_BYTES", 5000)
    with pytest.raises(TokenizerError, match="larger than the limit of 5000 bytes"):
        Tokenizer.load(folder)
