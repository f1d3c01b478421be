import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.text.pattern import Pattern, pattern_of_expression, patterns_of_terms
from app.text.search import PatternSearch, Span, find_all, pieces_at_risk
from tests.profiles import examples
from tests.unit.text.test_pattern_parts import EXPRESSIONS

LETTERS = st.text("abAB -\u200b\u0301ß\r\n", max_size=12)
TERMS = st.lists(st.text("abB s\u0301", min_size=1, max_size=4), min_size=1, max_size=4)


@st.composite
def patterns(draw: st.DrawFn) -> Pattern:
    """Terms or an expression, with all options."""
    ignore_case, whole_words, max_length = draw(st.booleans()), draw(st.booleans()), draw(st.integers(1, 6))
    if draw(st.booleans()):
        terms = draw(TERMS.filter(lambda terms: all(term.strip() for term in terms)))
        return patterns_of_terms(terms, ignore_case=ignore_case, whole_words=whole_words, max_length=max_length)[0]
    expression = f"(?:{draw(EXPRESSIONS)})a|ab"
    return pattern_of_expression(expression, ignore_case=ignore_case, whole_words=whole_words, max_length=max_length)


def fed(pattern: Pattern, pieces: list[str]) -> list[Span]:
    search = PatternSearch(pattern)
    found = []
    for piece in pieces:
        before = search.open_start
        found += search.feed(piece)
        assert before <= search.open_start
        assert all(start <= search.open_start for start, _ in found)
    return found + search.flush()


@examples(500)
@given(patterns(), st.lists(LETTERS, max_size=8))
def test_the_whole_text_decides_and_not_how_it_was_split(pattern: Pattern, pieces: list[str]) -> None:
    assert fed(pattern, pieces) == fed(pattern, list("".join(pieces))) == find_all(pattern, "".join(pieces))


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_a_line_end_is_a_line_end(line_end: str) -> None:
    pattern = pattern_of_expression("key\\n[A-Z]+", ignore_case=False, whole_words=False, max_length=20)
    text = f"a {line_end}key{line_end}ABC"
    assert [text[start:end] for start, end in fed(pattern, list(text))] == [f"key{line_end}ABC"]
    assert pieces_at_risk(pattern, ["a key", line_end, "ABC"]) == {0, 1, 2}


@examples(200)
@given(TERMS, LETTERS)
def test_every_term_is_found(terms: list[str], text: str) -> None:
    """The plain search finds the same: at each position the longest term, in a text that needs no folding."""
    terms = [" ".join(term.replace("\u0301", "").split()) for term in terms]
    text = " ".join(text.replace("\u200b", "").replace("\u0301", "").replace("ß", "").split())
    terms = sorted(filter(None, terms), key=len, reverse=True)
    if not terms:
        return
    expected, start = [], 0
    while start < len(text):
        match = next((term for term in terms if text.startswith(term, start)), "")
        if match:
            expected.append((start, start + len(match)))
        start += len(match) or 1
    assert find_all(patterns_of_terms(terms, ignore_case=False, whole_words=False)[0], text) == expected


@pytest.mark.parametrize(
    ("pattern", "text", "open_start"),
    [
        (patterns_of_terms(["forbidden"])[0], "nothing here ", 13),
        (patterns_of_terms(["forbidden"])[0], "a for", 2),
        (patterns_of_terms(["forbidden"])[0], "a xfor", 6),
        (patterns_of_terms(["forbidden"])[0], "a forbidden", 2),
        (patterns_of_terms(["forbidden"], whole_words=False)[0], "a forbidden", 11),
        (patterns_of_terms(["forbidden"])[0], "a for\u200b", 2),
        (pattern_of_expression(r"\d{4}-\d{4}"), "in 2024-12", 3),
        (pattern_of_expression(r"\d{4}-\d{4}"), "in 2024-12 ", 11),
        (pattern_of_expression("<.*>", max_length=5), "<abc", 0),
        (pattern_of_expression("<.*>", max_length=5), "<abcde", 6),
    ],
)
def test_only_text_that_may_become_a_match_stays_open(pattern: Pattern, text: str, open_start: int) -> None:
    search = PatternSearch(pattern)
    search.feed(text)
    assert search.open_start == open_start


@pytest.mark.parametrize("expression", ["(a+)+$", "(a|aa)+b", "(.*)(.*)(.*)(.*)[^a]x", "(a?){100}a{100}b", "a.*b"])
def test_no_expression_takes_long(expression: str) -> None:
    pattern = pattern_of_expression(f"x{expression}")
    start_s = time.process_time()
    find_all(pattern, "xa" + "a" * 20_000 + "!")
    find_all(pattern, "xa" * 10_000)
    assert time.process_time() - start_s < 5


DENSE = st.sampled_from(
    [
        *patterns_of_terms(["aba", "bb"], whole_words=False),
        *patterns_of_terms(["aba", "a b", "b"]),
        *patterns_of_terms(["abab", "aa"], whole_words=False, max_length=3),
        pattern_of_expression("a.b"),
        pattern_of_expression("ab+a|b{3}"),
        pattern_of_expression("(ab){2}"),
        pattern_of_expression(r"\bab*a\b"),
        pattern_of_expression("b.*b", max_length=4),
        pattern_of_expression("a[ab]?", whole_words=True),
    ]
)


@examples(300)
@given(
    st.one_of(DENSE, patterns()),
    st.lists(st.tuples(st.text("ab ", min_size=1, max_size=3), st.booleans()), max_size=10),
    st.text("ab ", max_size=3),
)
@example(  # what is in the gap decides which of the overlapping ones counts
    patterns_of_terms(["aba"], whole_words=False)[0], [("ab", False), *((letter, True) for letter in "ababa")], ""
)
def test_no_shown_piece_is_part_of_a_match_for_any_text_in_the_gaps(
    pattern: Pattern, decided: list[tuple[str, bool]], rest: str
) -> None:
    at_risk = pieces_at_risk(pattern, [piece if is_known else None for piece, is_known in decided])
    spans = find_all(pattern, "".join(piece for piece, _ in decided) + rest)
    end = 0
    for index, (piece, is_known) in enumerate(decided):
        start, end = end, end + len(piece)
        is_matched = any(first < end and start < last for first, last in spans)
        assert not is_matched or not is_known or index in at_risk


def test_text_that_looks_like_a_special_token_may_be_ordinary_text() -> None:
    pattern = pattern_of_expression("<b>|x<i>y")
    assert pieces_at_risk(pattern, ["a", "<b>", "c"]) == {1}
    assert pieces_at_risk(pattern, ["x", "<i>", "y"]) == {0, 1, 2}


@pytest.mark.parametrize(
    ("pieces", "at_risk"),
    [
        (["So", " it", " is", None], set()),
        (["So", " for", None], {1}),
        (["So", " forbidden", " it"], {1}),
        (["So", " for", "bid", "den", " it"], {1, 2, 3}),
        ([None, "den", " it"], {1}),
        ([None, "bid", None], {1}),
        ([None, "big", None], set()),
        (["for", "<|pad|>", "bidden", " it"], {0, 2}),
        (["for", "\ufffd", "x"], {0, 1}),
    ],
)
def test_pieces_beside_gaps_are_shown_if_they_cannot_be_part_of_a_match(
    pieces: list[str | None], at_risk: set[int]
) -> None:
    assert pieces_at_risk(patterns_of_terms(["forbidden"])[0], pieces) == at_risk


def test_the_example_drawn_in_the_module_is_what_it_computes() -> None:
    pattern = pattern_of_expression("ab*c")
    search = PatternSearch(pattern)
    rows = [(piece, search.feed(piece), search.open_start) for piece in ("xab", "b", "cab", "x")]
    assert rows == [("xab", [], 1), ("b", [], 1), ("cab", [(1, 5)], 5), ("x", [], 8)]
    assert pieces_at_risk(pattern, ["za", None, "b", None, "q"]) == {0, 2}
