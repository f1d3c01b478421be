import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.diffusion.requests.answer import Answer


def answered(pieces: list[str], stops: list[str]) -> tuple[Answer, list[str]]:
    answer, shown = Answer(stops), []
    for piece in pieces:
        shown.append(answer.feed(piece, 1))
        if answer.is_stopped:
            return answer, shown
    shown.append(answer.flush())
    return answer, shown


def test_without_stop_strings_everything_is_shown_at_once() -> None:
    answer, shown = answered(["a", "b"], [])
    assert shown == ["a", "b", ""]
    assert answer.num_tokens == 2
    assert not answer.is_stopped


def test_a_stop_string_across_pieces_is_never_shown() -> None:
    answer, shown = answered(["one E", "N", "D two"], ["END"])
    assert "".join(shown) == "one "
    assert answer.is_stopped


def test_an_unfinished_match_that_fails_is_shown_at_the_end() -> None:
    answer, shown = answered(["one E", "N"], ["END"])
    assert "".join(shown) == "one EN"
    assert not answer.is_stopped


@pytest.mark.parametrize(
    ("pieces", "num_tokens"),
    [
        (["ab", "cd", "STOP"], 2),
        (["ab", "cST", "OP"], 2),
        (["ab", "S", "TOP"], 1),
        (["STOP"], 0),
        (["xSTOP"], 1),
    ],
)
def test_a_token_counts_if_its_text_begins_before_the_end(pieces: list[str], num_tokens: int) -> None:
    assert answered(pieces, ["STOP"])[0].num_tokens == num_tokens


@given(st.lists(st.text("abc", max_size=4)), st.lists(st.text("abc", min_size=1, max_size=3), max_size=2))
def test_shown_text_ends_before_the_first_stop_string(pieces: list[str], stops: list[str]) -> None:
    answer, shown = answered(pieces, stops)
    whole = "".join(pieces)
    ends = [whole.find(stop) for stop in stops if stop in whole]
    assert "".join(shown) == whole[: min(ends, default=len(whole))]
    assert answer.num_tokens <= len(pieces)


def test_notes_come_with_the_text_that_they_are_about() -> None:
    answer = Answer(["END"])
    assert answer.feed("one E", 2, ["one", " E"]) == "one "
    assert answer.take_notes() == [(0, "one"), (0, " E")]
    answer.feed("N", 1, ["N"])
    assert answer.take_notes() == []
    assert answer.feed("d", 1, ["d"]) == "ENd"
    assert answer.take_notes() == [(5, "N"), (6, "d")]
    answer.feed("END", 1, ["END"])
    assert answer.take_notes() == []
