from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.canvas.canvas import Canvas
from app.engine.canvas.transcript import Transcript

MASK, END = 0, 9
spans = st.lists(st.integers(0, 9), max_size=8)
"""A round's commits, in order; a mask stays one."""


def written(rounds: list[list[int]]) -> list[int]:
    """The answer in plain words: all tokens of all rounds, up to the first end of the text."""
    flat = [token_id for span in rounds for token_id in span if token_id != MASK]
    return flat[: flat.index(END)] if END in flat else flat


def tell(transcript: Transcript, span: list[int], rng: random.Random) -> list[tuple[int, ...]]:
    """Commits `span` in any order, listening now and then."""
    canvas = Canvas([5], len(span), [6], MASK)
    pieces = []
    for index in rng.sample(range(len(span)), len(span)):
        canvas.commit(1 + index, span[index])
        transcript.follow(canvas)
        if rng.random() < 0.5:
            pieces.append(transcript.take_unsent())
    transcript.close_round(canvas)
    return pieces


@given(st.lists(spans, max_size=4), st.randoms(use_true_random=False))
def test_the_pieces_in_their_order_are_the_answer_whatever_the_steps_were(
    rounds: list[list[int]], rng: random.Random
) -> None:
    transcript = Transcript((END,))
    pieces = []
    for span in rounds:
        pieces += tell(transcript, span, rng)
        if transcript.ended:
            break
    pieces.append(transcript.take_unsent())
    assert [token_id for piece in pieces for token_id in piece] == written(rounds)
    assert transcript.num_sent == len(written(rounds))
    assert transcript.ended == (END in [token_id for span in rounds for token_id in span])


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_sent_text_is_never_taken_back(span: list[int], rng: random.Random) -> None:
    transcript = Transcript((END,))
    canvas = Canvas([], len(span), [], MASK)
    sent: list[int] = []
    for index in rng.sample(range(len(span)), len(span)):
        canvas.commit(index, span[index])
        transcript.follow(canvas)
        sent += transcript.take_unsent()
        assert sent == written([span])[: len(sent)]
        assert MASK in canvas.ids[: len(sent) + 1] or sent == written([span])


def test_several_ids_may_end_the_text() -> None:
    transcript = Transcript((8, 9))
    canvas = Canvas([], 3, [], MASK)
    for index, token_id in enumerate((4, 8, 5)):
        canvas.commit(index, token_id)
    transcript.follow(canvas)
    assert transcript.ended
    assert transcript.take_unsent() == (4,)


def test_an_unfilled_mask_is_dropped_when_the_round_is_closed() -> None:
    transcript = Transcript((END,))
    canvas = Canvas([], 3, [], MASK)
    canvas.commit(0, 4)
    canvas.commit(2, 5)
    transcript.follow(canvas)
    assert transcript.take_unsent() == (4,)
    assert transcript.close_round(canvas) == [4, 5]
    assert transcript.take_unsent() == (5,)


def test_final_text_that_changes_is_a_defect_and_is_never_sent() -> None:
    transcript = Transcript((END,))
    canvas = Canvas([], 3, [], MASK)
    for index in range(2):
        canvas.commit(index, 4 + index)
    transcript.follow(canvas)
    canvas.remask(1)
    with pytest.raises(AssertionError, match=r"final ids \[4, 5\] have become \[4\]"):
        transcript.follow(canvas)
    with pytest.raises(AssertionError, match="have become"):
        transcript.close_round(canvas)


def test_a_text_that_has_ended_does_not_go_on() -> None:
    transcript = Transcript((END,))
    canvas = Canvas([], 2, [], MASK)
    canvas.commit(0, END)
    transcript.follow(canvas)
    canvas.remask(0)
    with pytest.raises(AssertionError, match="had ended"):
        transcript.follow(canvas)
