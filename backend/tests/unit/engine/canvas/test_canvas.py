from __future__ import annotations

from itertools import takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.canvas.canvas import Canvas

MASK = 0
tokens = st.integers(1, 9)
texts = st.lists(tokens, max_size=5)
edits = st.lists(st.tuples(st.sampled_from(["commit", "remask", "expand", "delete"]), st.integers(0, 99), tokens))


class ThreeLists:
    """The canvas as anyone would write it: the text before, the new part, the text behind."""

    def __init__(self, prefix: list[int], num_masks: int, suffix: list[int]) -> None:
        self.parts = [list(prefix), [MASK] * num_masks, list(suffix)]

    @property
    def ids(self) -> list[int]:
        return [token_id for part in self.parts for token_id in part]

    def replace(self, index: int, new: list[int]) -> None:
        for part in self.parts:
            if index < len(part):
                part[index : index + 1] = new
                return
            index -= len(part)


def change(canvas: Canvas, plain: ThreeLists, verb: str, index: int, token_id: int) -> None:
    if verb == "commit" and canvas.ids[index] == MASK:
        canvas.commit(index, token_id)
        plain.replace(index, [token_id])
    elif verb == "remask":
        canvas.remask(index)
        plain.replace(index, [MASK])
    elif verb == "expand":
        canvas.expand(index)
        plain.replace(index, [MASK, MASK])
    elif verb == "delete":
        canvas.delete(index)
        plain.replace(index, [])


@given(texts, st.integers(0, 6), texts, edits)
def test_any_edits_anywhere_keep_the_three_parts_apart(
    prefix: list[int], num_masks: int, suffix: list[int], edits: list[tuple[str, int, int]]
) -> None:
    canvas, plain = Canvas(prefix, num_masks, suffix, MASK), ThreeLists(prefix, num_masks, suffix)
    for verb, number, token_id in edits:
        if plain.ids:
            change(canvas, plain, verb, number % len(plain.ids), token_id)
        before, span, _ = plain.parts
        assert canvas.ids == plain.ids
        assert canvas.span_ids == span
        assert (canvas.span_start, canvas.span_length, len(canvas)) == (len(before), len(span), len(plain.ids))


@given(texts, st.integers(1, 6), texts, edits)
def test_edits_of_the_span_leave_the_given_text_alone(
    prefix: list[int], num_masks: int, suffix: list[int], edits: list[tuple[str, int, int]]
) -> None:
    canvas, plain = Canvas(prefix, num_masks, suffix, MASK), ThreeLists(prefix, num_masks, suffix)
    for verb, number, token_id in edits:
        if canvas.span_length:
            change(canvas, plain, verb, canvas.span_start + number % canvas.span_length, token_id)
    assert canvas.ids[: canvas.span_start] == prefix
    assert canvas.ids[canvas.span_end :] == suffix


@given(st.lists(st.integers(0, 9)), st.integers(0, 30))
def test_masked_positions_in_reading_order(ids: list[int], end: int) -> None:
    canvas = Canvas(ids, 0, [], MASK)
    expected = [index for index in range(len(ids)) if ids[index] == MASK]
    assert canvas.masked() == expected
    assert canvas.masked(before=end) == [index for index in expected if index < end]


@given(texts, st.lists(st.integers(0, 9)), st.sets(tokens, max_size=2))
def test_final_is_what_stands_before_the_first_mask_or_the_end_of_the_text(
    prefix: list[int], span: list[int], end_ids: set[int]
) -> None:
    canvas = Canvas(prefix, len(span), [3], MASK)
    for index, token_id in enumerate(span):
        canvas.commit(len(prefix) + index, token_id)
    final = list(takewhile(lambda token_id: token_id != MASK and token_id not in end_ids, span))
    is_end = len(final) < len(span) and span[len(final)] in end_ids
    assert canvas.final_ids(end_ids) == (final, is_end)


def test_a_decided_position_is_never_written_again() -> None:
    canvas = Canvas([5], 1, [], MASK)
    canvas.commit(1, 7)
    for index in (0, 1):
        with pytest.raises(AssertionError, match="never written again"):
            canvas.commit(index, 8)


def test_committing_the_mask_itself_leaves_the_position_open() -> None:
    canvas = Canvas([], 1, [], MASK)
    canvas.commit(0, MASK)
    assert canvas.masked() == [0]
