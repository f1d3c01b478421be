from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.engine.request.context import fit_window, text_room

texts = st.integers(0, 40).map(lambda length: tuple(range(length)))


@given(texts, texts, st.integers(1, 60), st.integers(1, 50))
def test_the_window_never_exceeds_the_context_and_always_has_room_for_new_text(
    prefix: tuple[int, ...], suffix: tuple[int, ...], wanted: int, context_length: int
) -> None:
    window = fit_window(prefix, suffix, wanted, context_length)
    assert len(window.prefix) + window.capacity + len(window.suffix) <= context_length
    assert 1 <= window.capacity <= wanted


@given(texts, texts, st.integers(1, 60), st.integers(1, 50))
def test_the_remaining_text_is_nearest_to_the_gap(
    prefix: tuple[int, ...], suffix: tuple[int, ...], wanted: int, context_length: int
) -> None:
    window = fit_window(prefix, suffix, wanted, context_length)
    assert prefix[len(prefix) - len(window.prefix) :] == window.prefix
    assert suffix[: len(window.suffix)] == window.suffix
    assert window.num_truncated == len(prefix) + len(suffix) - len(window.prefix) - len(window.suffix)


@given(texts, texts, st.integers(1, 60), st.integers(1, 50))
def test_nothing_is_left_out_without_need(
    prefix: tuple[int, ...], suffix: tuple[int, ...], wanted: int, context_length: int
) -> None:
    window = fit_window(prefix, suffix, wanted, context_length)
    used = len(window.prefix) + window.capacity + len(window.suffix)
    if window.num_truncated:
        assert used == context_length
        assert window.capacity >= min(wanted, context_length // 2)
    else:
        room = context_length - len(prefix) - len(suffix)
        assert window.capacity == min(wanted, max(room, context_length // 2, 1), room)


@given(texts, texts, st.integers(1, 60), st.integers(1, 50))
def test_prefix_and_suffix_share_the_room_and_give_away_what_they_do_not_need(
    prefix: tuple[int, ...], suffix: tuple[int, ...], wanted: int, context_length: int
) -> None:
    window = fit_window(prefix, suffix, wanted, context_length)
    text_room = context_length - window.capacity
    if len(window.prefix) < len(prefix) and len(window.suffix) < len(suffix):
        assert abs(len(window.prefix) - len(window.suffix)) <= 1
    elif len(window.prefix) < len(prefix):
        assert len(window.suffix) <= text_room // 2
    elif len(window.suffix) < len(suffix):
        assert len(window.prefix) <= text_room - text_room // 2


def test_a_long_prompt_leaves_half_of_the_context_to_new_text() -> None:
    window = fit_window(tuple(range(100)), (), 30, 16)
    assert (window.prefix, window.capacity, window.num_truncated) == (tuple(range(92, 100)), 8, 92)


def test_a_long_prompt_gives_new_text_no_more_than_it_wants() -> None:
    window = fit_window(tuple(range(100)), (), 3, 16)
    assert (len(window.prefix), window.capacity) == (13, 3)


def test_infilling_keeps_the_text_on_both_sides_of_the_gap() -> None:
    window = fit_window(tuple(range(20)), tuple(range(50, 70)), 4, 12)
    assert (window.prefix, window.suffix) == (tuple(range(16, 20)), tuple(range(50, 54)))


@given(texts, st.integers(1, 60), st.integers(1, 50))
def test_a_text_that_fits_stays_whole(text: tuple[int, ...], wanted: int, context_length: int) -> None:
    window = fit_window(text, (), wanted, context_length)
    assert (window.num_truncated == 0) == (len(text) <= text_room(wanted, context_length))
