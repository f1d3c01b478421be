from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.engine.canvas.canvas import Canvas
from app.engine.decoding.length import (
    LengthBudget,
    before_deletions,
    carry_out_deletions,
    carry_out_expansions,
    spread_delete_to_right,
)
from tests.unit.engine.oracle import EOS, EXPAND, MASK

WORD = 7
given_text = st.lists(st.sampled_from([WORD, EOS]), max_size=4)
"""An end of text that the user's text holds is never deleted."""
spans = st.lists(st.sampled_from([MASK, WORD, EOS, EXPAND]), max_size=10)


def canvas_of(prefix: list[int], span: list[int], suffix: list[int]) -> Canvas:
    """A canvas after the commits of a step that had every place of `span` open."""
    canvas = Canvas(prefix, len(span), suffix, MASK)
    for index, token_id in enumerate(span):
        canvas.commit(len(prefix) + index, token_id)
    return canvas


@given(given_text, spans, given_text)
def test_deletions_remove_the_delete_tokens_of_this_step_only(
    prefix: list[int], span: list[int], suffix: list[int]
) -> None:
    canvas = canvas_of(prefix, span, suffix)
    deleted = carry_out_deletions(canvas, range(canvas.span_start, canvas.span_end), EOS)
    assert canvas.ids == prefix + [token_id for token_id in span if token_id != EOS] + suffix
    assert deleted == [len(prefix) + index for index, token_id in enumerate(span) if token_id == EOS]


def expanded_from_the_right(span: list[int], room: int) -> list[int]:
    """Gives what expansion leaves of a span, written down from its right end."""
    result: list[int] = []
    for token_id in reversed(span):
        if token_id != EXPAND:
            result.append(token_id)
        elif room > 0:
            result += [MASK, MASK]
            room -= 1
        else:
            result.append(MASK)
    return result[::-1]


@given(given_text, spans, given_text, st.integers(0, 6), st.integers(0, 6))
def test_expansions_stop_at_the_limit_and_blocked_ones_become_masks_again(
    prefix: list[int], span: list[int], suffix: list[int], room: int, budget: int
) -> None:
    canvas = canvas_of(prefix, span, suffix)
    limits = LengthBudget(len(canvas) + room, budget)
    expanded = carry_out_expansions(canvas, EXPAND, limits)
    assert canvas.ids == prefix + expanded_from_the_right(span, min(room, budget)) + suffix
    assert canvas.ids[canvas.span_end :] == suffix
    expandable = [len(prefix) + index for index, token_id in enumerate(span) if token_id == EXPAND]
    assert expanded == expandable[len(expandable) - len(expanded) :]
    assert limits.expansions == budget - len(expanded)
    assert len(canvas) <= limits.max_canvas


def test_the_rightmost_expansion_goes_first() -> None:
    canvas = canvas_of([WORD], [EXPAND, WORD, EXPAND], [WORD])
    assert carry_out_expansions(canvas, EXPAND, LengthBudget(max_canvas=6, expansions=9)) == [3]
    assert canvas.ids == [WORD, MASK, WORD, MASK, MASK, WORD]


def test_deletions_make_room_for_expansions() -> None:
    canvas = canvas_of([], [EOS, EXPAND, WORD], [])
    budget = LengthBudget(max_canvas=3, expansions=9)
    assert not budget.allows_expansion(canvas)
    carry_out_deletions(canvas, range(3), EOS)
    assert carry_out_expansions(canvas, EXPAND, budget) == [0]
    assert canvas.ids == [MASK, MASK, WORD]


@given(spans, given_text)
def test_pad_delete_to_right_deletes_every_open_position_behind_the_first_delete(
    span: list[int], suffix: list[int]
) -> None:
    canvas = canvas_of([WORD], span, suffix)
    spread_delete_to_right(canvas, range(canvas.span_start, canvas.span_end), EOS)
    first = span.index(EOS) if EOS in span else len(span)
    assert canvas.ids == [WORD, *span[:first], *[EOS] * (len(span) - first), *suffix]


def test_pad_delete_to_right_also_heeds_a_delete_in_the_given_text() -> None:
    canvas = canvas_of([EOS, WORD], [MASK, WORD], [WORD])
    spread_delete_to_right(canvas, range(2, 4), EOS)
    assert canvas.ids == [EOS, WORD, EOS, EOS, WORD]


def test_pad_delete_to_right_leaves_earlier_decisions_alone() -> None:
    canvas = canvas_of([], [WORD, EOS, WORD, WORD], [])
    spread_delete_to_right(canvas, [0, 1, 3], EOS)
    assert canvas.ids == [WORD, EOS, WORD, EOS]


@given(st.integers(1, 12), st.sets(st.integers(0, 11)))
def test_every_position_is_traced_back_to_where_it_stood(length: int, gone: set[int]) -> None:
    old = list(range(length))
    deleted = sorted(gone & set(old))
    left = [position for position in old if position not in gone]
    assert before_deletions(range(len(left)), deleted) == left
