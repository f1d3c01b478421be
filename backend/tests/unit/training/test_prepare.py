from __future__ import annotations

import numpy as np

from tests.unit.training.conftest import TEXTS
from training.functions import functions_of
from training.gaps import cursor, line_gap, word_gap
from training.prepare import MAX_PASSAGE_CHARS, Corpus, Document, deduplicated, join_some, passages, unit_hash

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


def test_what_does_not_parse_gives_no_functions() -> None:
    assert list(functions_of("def broken(:\n    pass\n", 1, 10)) == []
    assert list(functions_of("x = '''never closed\n", 1, 10)) == []


def test_passages_keep_every_sentence_in_order_and_stay_short() -> None:
    paragraphs = [f"This is sentence {i} of a chapter. It has a second part; And a third." for i in range(200)]
    paragraphs[7] = " ".join(paragraphs[:60])
    found = list(passages(paragraphs, "\n\n"))
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
    corpus = Corpus(np.arange(6, dtype=np.uint16), np.array([2, 3, 6]))
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
