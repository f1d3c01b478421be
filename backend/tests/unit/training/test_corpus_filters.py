"""The filters: what they drop and why, and the packed file."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from training.corpus.card import Tally, corpus_card
from training.corpus.filters import Sieve, text_of, tidy
from training.corpus.packed import Text, read_texts, store_texts

STORY = (
    "Once upon a time, there was a small mouse who lived in an old mill beside the river. Every morning she swept the "
    "floor, counted her seeds and looked out for boats. One day a storm took the bridge away, and nobody could cross. "
    "The mouse had a long rope, so she tied it to a tree and threw the other end over the water."
)
FEW = ("mouse", "river", "boat", "storm", "rope", "mill", "tree", "water", "floor", "seed", "she", "saw", "the", "and")
POOR = " ".join(" ".join(random.Random(i).sample(FEW, len(FEW))) for i in range(8, 14)) + "."
KNOWN = frozenset(word.strip(".,").lower() for word in f"{STORY} a tool that cuts wood is sharp saw".split())


def record(text: str = STORY, **changes: Any) -> dict[str, Any]:
    return {
        "kind": "story",
        "request": "",
        "question": "",
        "beginning": "",
        "closing": "",
        "text": text,
        "ended": True,
    } | changes


def reason(text: str = STORY, **changes: Any) -> str | None:
    one = record(text, **changes)
    known = KNOWN | frozenset(text.lower().replace(".", "").replace(",", "").split())
    return Sieve(known).reason_to_drop(one, text_of(one))


def test_a_plain_story_is_kept() -> None:
    assert reason() is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (STORY[:-1], "unfinished"),
        ("The mouse slept. The end.", "short"),
        (STORY.replace("boats", "b* oats"), "odd signs"),
        (STORY.replace("boats", "BOATSANDSHIPS"), "odd signs"),
        (f"{STORY} This story shows that ropes are useful.", "meta talk"),
        (f"As an AI, I do not sail. {STORY}", "meta talk"),
        (STORY.replace("small mouse", "small small mouse"), "loops"),
        (f"{STORY} {STORY}", "loops"),
        ("The cat saw the cat and a dog. A dog saw the cat and the dog saw. " * 5, "loops"),
        (POOR, "poor in words"),
    ],
)
def test_a_bad_text_is_dropped_for_its_first_reason(text: str, why: str) -> None:
    assert reason(text) == why


def test_a_text_that_did_not_end_by_itself_is_dropped() -> None:
    assert reason(ended=False) == "unfinished"


def test_last_words_that_the_limit_cut_off_end_with_a_sentence() -> None:
    one = record(f"{STORY}\n\nIn the end, all was well. And the", closing="\n\nIn the end,", ended=False)
    assert text_of(one).text.endswith("In the end, all was well.")
    assert reason(one["text"], closing="\n\nIn the end,", ended=False) is None
    assert reason(f"{STORY}\n\nIn the end, the", closing="\n\nIn the end,", ended=False) == "unfinished"


def test_a_moral_at_the_end_is_no_meta_talk() -> None:
    assert reason(f"{STORY} The moral of the story is that a rope can be a bridge.") is None


def test_invented_words_are_counted() -> None:
    one = record(STORY.replace("seeds", "zorblats").replace("boats", "quimbles"))
    assert Sieve(KNOWN).reason_to_drop(one, text_of(one)) == "unknown words"


def test_a_letter_ends_with_the_name_of_who_wrote_it() -> None:
    letter = {"kind": "letter", "request": "Write a letter. It is from Ben to Ada. Keep it short."}
    assert reason(f"Dear Ada,\n\n{STORY}\n\nBest wishes,\nBen", **letter) is None
    assert reason(f"Dear Ada,\n\n{STORY}\n\nBest wishes,\nAda", **letter) == "unfinished"


def test_of_two_texts_that_share_much_the_first_is_kept() -> None:
    sieve = Sieve(KNOWN | {"indeed"})
    kept = list(sieve.kept([record(), record(STORY.replace("One day", "Indeed"))]))
    assert [text.text for text in kept] == [STORY]
    assert sieve.dropped == {("story", "near duplicate"): 1}


def test_a_conversation_has_the_plain_form_of_the_chat_endpoint() -> None:
    one = record("A saw is a tool.", kind="conversation", question="What is a saw?")
    assert text_of(one) == Text("conversation", "What is a saw?", "User: What is a saw?\n\nAssistant: A saw is a tool.")


def test_texts_that_begin_alike_have_one_key() -> None:
    begun = [record(end, beginning="Once upon a time, a mouse", request=end) for end in (" slept.", " ran.")]
    assert len({text_of(one).key for one in begun}) == 1
    assert text_of(record(beginning="Many people", request="Tell me about mice.")).key == "Tell me about mice."


def test_signs_and_spaces_become_plain() -> None:
    assert tidy("\u201cHi,\u201d she said \u2014 it\u2019s  late \n\n\n\nEnd ") == '"Hi," she said - it\'s late\n\nEnd'


def test_packed_texts_come_back_in_their_order(tmp_path: Path) -> None:
    texts = [Text("story", "key", "b"), Text("essay", "other", "a\n")]
    store_texts(texts, tmp_path / "data" / "texts.xz")
    assert list(read_texts(tmp_path / "data" / "texts.xz")) == texts


def test_the_card_counts_what_was_dropped() -> None:
    tally = Tally(
        Counter(story=8, essay=2), Counter({("story", "loops"): 2}), [Text("story", "k", "abc")] * 3, [0, 1, 2, 5], 10
    )
    card = corpus_card(tally)
    assert "| story | 8 | 3 | 9 |" in card
    assert "| loops | 25.0% | 0.0% | 20.0% |" in card
    assert "(here 0-2, 5, of" in card
