import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.text import StopStrings, TextError

letters = st.text("abc", max_size=12)
stop_lists = st.lists(st.text("abc", min_size=1, max_size=4), max_size=4)


def fed(stops: list[str], pieces: list[str]) -> tuple[str, str | None]:
    watcher = StopStrings(stops)
    shown = "".join(watcher.feed(piece) for piece in pieces)
    return shown + watcher.flush(), watcher.matched


def expected(stops: list[str], text: str) -> tuple[str, str | None]:
    """The result by the rule in words: the earliest match wins, and the shortest at one position."""
    for start in range(len(text)):
        here = [stop for stop in stops if text.startswith(stop, start)]
        if here:
            return text[:start], min(here, key=len)
    return text, None


@given(stop_lists, st.lists(letters, max_size=6))
@example(["ab", "abc", "b"], ["a", "b", "c"])
@example(["abcc", "b"], ["a", "b", "c"])
@example(["abcc", "b"], ["abc", "c"])
def test_the_whole_text_decides_and_not_how_it_was_split(stops: list[str], pieces: list[str]) -> None:
    assert fed(stops, pieces) == expected(stops, "".join(pieces))


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("stop", ["b\n", "b\r\n", "b\r"])
def test_a_stop_string_has_the_line_ends_of_the_text(stop: str, line_end: str) -> None:
    watcher = StopStrings([stop], line_end)
    assert (watcher.feed(f"a{line_end}b{line_end}c"), watcher.matched) == (f"a{line_end}", stop)


@given(stop_lists, letters)
def test_only_text_that_may_become_a_stop_string_is_held_back(stops: list[str], text: str) -> None:
    watcher = StopStrings(stops)
    shown = watcher.feed(text)
    held = text[len(shown) :]
    assert watcher.matched or held == "" or any(stop.startswith(held) for stop in stops)


def test_nothing_is_released_after_a_match() -> None:
    watcher = StopStrings(["\n\n"])
    steps = [(watcher.feed(piece), watcher.matched) for piece in ("one\n", "\ntwo", "three")]
    assert steps == [("one", None), ("", "\n\n"), ("", "\n\n")]
    assert watcher.flush() == ""


def test_an_unfinished_match_that_fails_is_shown() -> None:
    watcher = StopStrings(["<end>"])
    assert watcher.feed("a <e") == "a "
    assert watcher.feed("gg>") == "<egg>"


def test_a_later_match_waits_for_an_earlier_beginning() -> None:
    assert fed(["abcd", "c"], ["abc"]) == ("ab", "c")
    assert fed(["abcd", "c"], ["abc", "d"]) == ("", "abcd")


def test_without_stop_strings_nothing_is_held_back() -> None:
    assert StopStrings([]).feed("text") == "text"


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(TextError, match="a stop string is empty"):
        StopStrings(["a", ""])
