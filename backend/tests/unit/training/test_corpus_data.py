"""The packed corpus in the repository: plain, split without a leak, as its card says."""

from __future__ import annotations

import re
from functools import cache

from training.corpus.filters import REASONS
from training.corpus.packed import MOST_BYTES, PACKED, Text, read_texts
from training.corpus.split import apart, cut, is_heldout


@cache
def texts() -> list[Text]:
    return list(read_texts())


def test_the_texts_are_plain_and_none_is_there_twice() -> None:
    assert all(re.fullmatch(r"[ -~\n]+", text.text) and text.text == text.text.strip() for text in texts())
    assert len({text.text for text in texts()}) == len(texts())
    assert {text.kind for text in texts()} == {"story", "essay", "conversation", "letter", "instructions", "middle"}


def test_what_is_held_out_begins_as_nothing_that_is_trained_on() -> None:
    assert apart(texts()) == texts()
    heldout = [text for text in texts() if is_heldout(text)]
    assert 0.005 < len(heldout) / len(texts()) < 0.05
    assert all(cut(text)[1].strip() for text in heldout)


def test_no_text_would_be_dropped_today() -> None:
    """A filter that has been made stricter needs the texts packed again."""
    signs, meta = REASONS["odd signs"], REASONS["meta talk"]
    assert not [text.text for text in texts() if signs({}, text) or meta({}, text)]


def test_the_card_says_how_many_there_are() -> None:
    card = (PACKED.parent / "README.md").read_text()
    megabytes = sum(len(text.text) for text in texts()) / 1e6
    assert card.splitlines()[2].startswith(f"{len(texts()):,} short texts, {megabytes:.2f} MB")
    assert PACKED.stat().st_size < MOST_BYTES
