from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from tests.unit.training.conftest import TEXTS, tiny_recipe, tokenizer_for
from training import prepare as program
from training.functions import functions_of
from training.gaps import cursor, line_gap, word_gap
from training.prepare import (
    MAX_DOCUMENT_TOKENS,
    MAX_PASSAGE_CHARS,
    PROSE,
    Corpus,
    Document,
    Prose,
    deduplicated,
    join_some,
    load_corpus,
    passages,
    prepare,
    split_parts,
    unit_hash,
)
from training.recipe import Recipe

SOURCE = '''
import os

class Box:
    """Holds things."""

    def put(self, item):  # a comment
        """Puts one in."""
        # another comment
        text = "# no comment"

        self.items.append(item)
        return text

    def short(self):
        return 1

@decorated
async def outer(x):
    def inner(y):
        return y + 1
    await x
    return inner
'''


def test_functions_lose_docstrings_comments_and_blank_lines() -> None:
    put, outer = functions_of(SOURCE, 3, 10)
    assert put == 'def put(self, item):\n    text = "# no comment"\n    self.items.append(item)\n    return text\n'
    assert outer.startswith("@decorated\nasync def outer(x):\n    def inner(y):\n")


def test_source_that_does_not_parse_gives_no_functions() -> None:
    assert list(functions_of("def broken(:\n    pass\n", 1, 10)) == []
    assert list(functions_of("x = '''never closed\n", 1, 10)) == []


def test_passages_keep_every_sentence_in_order_and_stay_short() -> None:
    paragraphs = [f"This is sentence {i} of a chapter. It has a second part; And a third." for i in range(200)]
    paragraphs[7] = " ".join(paragraphs[:60])
    found = list(passages(paragraphs))
    assert "".join("".join(found).split()) == "".join("".join(paragraphs).split())
    assert max(map(len, found)) <= MAX_PASSAGE_CHARS
    assert len({len(passage) // 200 for passage in found}) > 3


def test_duplicates_are_found_whatever_their_white_space() -> None:
    documents = [Document("a b\n", "1"), Document("a  b", "2"), Document("c", "3")]
    assert [document.origin for document in deduplicated(documents)] == ["1", "3"]


def test_the_split_depends_on_the_text_alone_and_is_fair() -> None:
    values = [unit_hash(f"document {i}") for i in range(2000)]
    assert values == [unit_hash(f"document {i}") for i in range(2000)]
    assert abs(np.mean(np.array(values) < 0.1) - 0.1) < 0.03


def test_joining_loses_no_function() -> None:
    assert "".join(join_some(TEXTS, "seed")).replace("\n\n\ndef", "\ndef").count("def ") == len(TEXTS)


def test_a_corpus_gives_its_documents_back() -> None:
    corpus = Corpus(np.arange(6, dtype=np.uint16), np.array([2, 3, 6]), np.zeros(3, dtype=np.bool_))
    assert [corpus[i].tolist() for i in range(len(corpus))] == [[0, 1], [2], [3, 4, 5]]


def test_gaps_lie_inside_the_text_and_are_not_empty() -> None:
    chance = np.random.default_rng(0)
    for text in [*TEXTS[:5], "word", "a b", "x\n", "One two, three. Four!\n\nFive"]:
        for _ in range(50):
            for choose in (line_gap, word_gap):
                start, end = choose(text, chance)
                assert 0 <= start < end <= len(text)
            assert 0 <= cursor(text, chance) <= len(text)


def test_a_line_gap_leaves_the_first_line_alone() -> None:
    chance = np.random.default_rng(1)
    starts = {line_gap(TEXTS[0], chance)[0] for _ in range(100)}
    assert min(starts) >= TEXTS[0].index("\n") + 1


CHAPTERS = [[f"This is paragraph {i} of chapter {chapter}, and it says so." for i in range(40)] for chapter in range(9)]


@pytest.fixture
def mixed(monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """Functions with some prose beside them, both made up."""
    functions = [(f"file_{i}.py", text) for i, text in enumerate(TEXTS * 3)]
    monkeypatch.setitem(PROSE, "made-up", Prose((), lambda: CHAPTERS))
    monkeypatch.setattr(program, "stdlib_files", lambda: functions)
    data = {"kind": "python", "code": "stdlib", "prose": {"made-up": 1.0}, "heldout": 0.2}
    lines = {"min_lines": 2, "max_lines": 9, "max_bytes_per_package": 10**6}
    return replace(tiny_recipe("dream", {}), data=data | lines)


def test_prose_beside_code_is_trained_on_and_held_out_apart(mixed: Recipe) -> None:
    parts = split_parts(mixed.data)
    texts = {name: [document.text for document in part] for name, part in parts.items()}
    assert all(text.startswith("def ") for text in texts["heldout"])
    assert texts["heldout"]
    assert all(text.startswith("This is") for text in texts["heldout-prose"])
    assert texts["heldout-prose"]
    assert len({text.startswith("def ") for text in texts["train"]}) == 2
    origins = [{document.origin for document in part} for part in parts.values()]
    assert not origins[0] & (origins[1] | origins[2])


def test_prose_alone_is_held_out_as_the_text_itself(mixed: Recipe) -> None:
    parts = split_parts({"kind": "english", "prose": {"made-up": 1.0}, "heldout": 0.2})
    assert parts["heldout"]
    assert not parts["heldout-prose"]


def test_a_source_is_kept_to_its_share(mixed: Recipe) -> None:
    def count(share: float) -> int:
        return sum(map(len, split_parts({"kind": "english", "prose": {"made-up": share}, "heldout": 0.2}).values()))

    assert count(0.0) == 0
    assert 0.2 * count(1.0) < count(0.5) < 0.8 * count(1.0)


def test_the_prepared_folder_holds_the_parts_and_the_given_tokenizer(mixed: Recipe, tmp_path: Path) -> None:
    given = tokenizer_for("dream")
    folder = prepare(mixed, given, tmp_path / "data")
    assert Tokenizer.from_file(str(folder / "tokenizer.json")).to_str() == given.to_str()
    manifest = json.loads((folder / "manifest.json").read_text())
    for name, part in split_parts(mixed.data).items():
        corpus = load_corpus(folder / f"{name}.npz")
        kept = [d.text for d in part if len(given.encode(d.text, add_special_tokens=False)) <= MAX_DOCUMENT_TOKENS]
        assert manifest[name]["documents"] == len(corpus)
        assert [given.decode(corpus[i].tolist()) for i in range(len(corpus))] == kept
        assert [text for text, is_code in zip(kept, corpus.is_code, strict=True) if is_code] == [
            text for text in kept if "def " in text
        ]
    assert load_corpus(folder / "train.npz").is_code.mean() not in (0, 1)


def test_tokens_of_an_earlier_version_are_to_be_made_anew(tmp_path: Path) -> None:
    np.savez(tmp_path / "train.npz", ids=np.zeros(1), ends=np.ones(1))
    with pytest.raises(ValueError, match="earlier version: delete it"):
        load_corpus(tmp_path / "train.npz")


def test_a_prepared_folder_is_left_as_it_is(mixed: Recipe, tmp_path: Path) -> None:
    folder = prepare(mixed, tokenizer_for("dream"), tmp_path / "data")
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    prepare(mixed, tokenizer_for("llada"), tmp_path / "data")
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
