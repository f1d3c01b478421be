from __future__ import annotations

from training.corpus.packed import Text
from training.prepare import unit_hash
from training.sentences import hidden_sentences, hide_sentence

STORY = "Once there was a frog. It sat on a green leaf. Oh! Then it jumped into the water. That was all."


def test_a_sentence_in_the_middle_is_hidden_and_nothing_is_lost() -> None:
    hidden = hide_sentence(STORY)
    assert hidden is not None
    assert hidden.sentence in {"It sat on a green leaf.", "Then it jumped into the water."}
    assert hidden.prefix + hidden.sentence + hidden.suffix == STORY
    assert hide_sentence(STORY) == hidden


def test_a_story_without_a_sentence_of_fair_length_has_none_to_hide() -> None:
    assert hide_sentence("It was. " * 9) is None
    assert hide_sentence("Once there was a frog. It sat on a green leaf.") is None


def test_only_held_out_stories_are_asked_about() -> None:
    heldout, trained = (
        next(key for key in map(str, range(1000)) if (unit_hash(key) < 0.02) is wanted) for wanted in (True, False)
    )
    texts = [
        Text("story", trained, STORY + " A."),
        Text("essay", heldout, STORY + " B."),
        Text("story", heldout, STORY),
    ]
    assert hidden_sentences(texts, 9) == [hide_sentence(STORY)]
    assert hidden_sentences(texts, 0) == []
