from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.text.line_ends import AS_WRITTEN, Joint, LineEnds, LineEndWriter, to_lf

texts = st.text("a\r\n", max_size=12)
pieces = st.lists(texts, max_size=6)
lf_texts = st.text("a \n", max_size=12)


def sent(line_ends: LineEnds, given_pieces: list[str]) -> list[str]:
    writer, joint = LineEndWriter(line_ends.line_end), Joint(line_ends)
    return [*(joint.feed(writer.feed(piece)) for piece in given_pieces), joint.flush()]


@given(texts)
def test_a_model_sees_what_universal_newlines_give(text: str) -> None:
    assert to_lf(text) == "\n".join((text + "|").splitlines())[:-1]


@pytest.mark.parametrize(
    ("before", "after", "line_end"),
    [
        ("", "", AS_WRITTEN),
        ("a", "b", AS_WRITTEN),
        ("a\n", "b\r", "\n"),
        ("a\r\n", "b", "\r\n"),
        ("a", "b\r\n", "\r\n"),
        ("a\r\nb\r\n", "c\n", "\r\n"),
        ("a\r\n", "b\n", "\n"),  # as many of each
        ("a\r\rb\r\n", "", "\r\n"),
        ("a\rb", "c", "\r"),
        ("a\r", "\nb", "\r\n"),  # a pair with the gap inside
        ("a\n", "\r\nb\n", "\n"),
    ],
)
def test_the_usual_line_end(before: str, after: str, line_end: str) -> None:
    assert LineEnds.around(before, after).line_end == line_end


@given(pieces)
def test_an_answer_beside_a_single_line_is_unchanged(given_pieces: list[str]) -> None:
    assert "".join(sent(LineEnds.around("a", "b"), given_pieces)) == "".join(given_pieces)


@given(pieces, st.sampled_from(["\n", "\r\n", "\r"]))
def test_pieces_give_what_the_whole_gives(given_pieces: list[str], line_end: str) -> None:
    writer = LineEndWriter(line_end)
    whole = "".join(given_pieces)
    assert "".join(map(writer.feed, given_pieces)) == LineEnds(line_end).written(whole)
    assert LineEnds(line_end).written(whole) == to_lf(whole).replace("\n", line_end)


@given(texts, texts, pieces)
def test_the_whole_text_reads_as_the_model_saw_and_wrote_it(before: str, after: str, given_pieces: list[str]) -> None:
    answer = "".join(sent(LineEnds.around(before, after), given_pieces))
    written = to_lf("".join(given_pieces))
    assert bool(answer) == bool(written)
    if answer and set(before + after) & {"\r", "\n"}:
        assert to_lf(before + answer + after) == to_lf(before) + written + to_lf(after)


@given(lf_texts, lf_texts, lf_texts)
def test_an_answer_has_the_line_ends_of_the_texts_around_it(before: str, after: str, answer: str) -> None:
    if "\n" in before + after:
        for line_end in ("\n", "\r\n", "\r"):
            around = LineEnds.around(before.replace("\n", line_end), after.replace("\n", line_end))
            assert "".join(sent(around, [answer])) == answer.replace("\n", line_end)


@given(texts, texts, pieces)
def test_no_piece_ends_inside_a_pair(before: str, after: str, given_pieces: list[str]) -> None:
    told = [piece for piece in sent(LineEnds.around(before, after), given_pieces) if piece]
    assert not any(one.endswith("\r") and two.startswith("\n") for one, two in pairwise(told))


def test_a_line_end_that_a_filter_splits_is_sent_in_one_piece() -> None:
    joint = Joint(LineEnds("\r\n"))
    assert [joint.feed("a\r"), joint.feed(""), joint.feed("\nb\r"), joint.flush()] == ["a", "", "\r\nb", "\r"]


def test_a_gap_inside_a_line_end_becomes_two() -> None:
    around = LineEnds.around("a\r", "\nb\r\n")
    assert sent(around, ["x", "\ny"]) == ["\nx", "\r\ny", "\r"]
    assert sent(around, []) == [""]
