from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.engine.families.span import FixedSpan, GrowingSpan, RoundShare
from app.engine.interface.params import DecodingParams

counts = st.integers(1, 200)


def test_a_fixed_span_has_the_length_that_is_asked_for_or_all_there_is_room_for() -> None:
    assert FixedSpan().first_length(DecodingParams(30), room=50) == 30
    assert FixedSpan().first_length(DecodingParams(30), room=20) == 20
    assert FixedSpan().first_length(DecodingParams(30, mask_lengths=(7, 9)), room=20) == 7


def test_a_growing_span_begins_small() -> None:
    assert GrowingSpan(16).first_length(DecodingParams(64), room=50) == 16
    assert GrowingSpan(16).first_length(DecodingParams(64), room=10) == 10
    assert GrowingSpan(16).first_length(DecodingParams(64, initial_masks=3), room=50) == 3


def test_a_round_gets_the_steps_of_its_tokens() -> None:
    share = RoundShare(span_length=120, num_left=200, steps_left=100, num_later=1)
    assert FixedSpan().spend_steps(DecodingParams(200, steps=100), share).steps == 60


def test_blocks_become_longer_where_there_would_be_more_of_them_than_steps() -> None:
    share = RoundShare(span_length=100, num_left=100, steps_left=5, num_later=0)
    params = FixedSpan().spend_steps(DecodingParams(100, steps=5, block_length=4), share)
    assert (params.steps, params.block_length) == (5, 20)


@given(counts, counts, counts, st.integers(0, 3))
def test_each_later_round_is_left_a_step(span_length: int, rest: int, steps_left: int, num_later: int) -> None:
    share = RoundShare(span_length, span_length + rest, steps_left, num_later)
    steps = FixedSpan().spend_steps(DecodingParams(200, steps=steps_left), share).steps
    assert steps is not None
    assert steps == 1 or steps <= steps_left - num_later


@given(counts, counts)
def test_a_growing_span_spends_steps_as_commits(max_new_tokens: int, steps: int) -> None:
    share = RoundShare(1, max_new_tokens, steps, 0)
    params = GrowingSpan(16).spend_steps(DecodingParams(max_new_tokens, steps=steps), share)
    assert params.steps is None
    assert params.transfers_per_step * steps >= max_new_tokens > (params.transfers_per_step - 1) * steps
