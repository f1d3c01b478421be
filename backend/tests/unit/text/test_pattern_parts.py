import itertools

import pytest
import re2  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from app.text.errors import PatternError
from app.text.pattern_parts import parts_of
from tests.profiles import examples

EXPRESSIONS = st.recursive(
    st.sampled_from(["a", "b", "c", ".", "[ab]", "[^a]", r"\b", "^", "$", r"\w", "()", r"\pL"]),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda some: f"({'|'.join(some)})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{2,}", "*?", "{0}"])).map(
            lambda pair: f"(?:{pair[0]}){pair[1]}"
        ),
        inner.map(lambda expression: f"(?i:{expression})"),
    ),
    max_leaves=6,
)
TEXTS = ["".join(letters) for length in range(5) for letters in itertools.product("ab-", repeat=length)]


def matches(expression: str, text: str) -> bool:
    return re2.fullmatch(expression, text) is not None


@examples(150)
@given(EXPRESSIONS, st.sampled_from(TEXTS), st.integers(0, 4), st.integers(0, 4))
def test_each_part_of_a_match_is_known(expression: str, text: str, first: int, length: int) -> None:
    parts = parts_of(expression)
    assert matches(parts.whole, text) == matches(expression, text)
    if not matches(expression, text):
        return
    cut = text[first : first + length]
    if r"\b" in expression or "^" in expression or "$" in expression:
        return  # whether a cut text matches these depends on what it was cut from
    if len(cut) < len(text):
        if first == 0:
            assert matches(parts.beginning, cut)
        elif first + length >= len(text):
            assert matches(parts.ending, cut)
        else:
            assert matches(parts.middle, cut)
    if text == "":
        assert parts.can_be_empty


@pytest.mark.parametrize(
    ("expression", "beginnings", "endings", "middles"),
    [
        ("abc", ["", "a", "ab"], ["", "c", "bc"], ["", "b"]),
        ("ab?c", ["", "a", "ab"], ["", "c", "bc"], ["", "b"]),
        ("ab|cb", ["", "a", "c"], ["", "b"], [""]),
        ("(?:ab){2}", ["", "a", "ab", "aba"], ["", "b", "ab", "bab"], ["", "b", "a", "ba"]),
        (r"[]a]\]", ["", "]", "a"], ["", "]"], [""]),
        (r"a\b", ["", "a"], [""], [""]),
    ],
)
def test_nothing_else_is_a_part(expression: str, beginnings: list[str], endings: list[str], middles: list[str]) -> None:
    parts = parts_of(expression)
    texts = ["".join(letters) for length in range(5) for letters in itertools.product("abc]", repeat=length)]
    assert [text for text in texts if matches(parts.beginning, text)] == sorted(beginnings, key=texts.index)
    assert [text for text in texts if matches(parts.ending, text)] == sorted(endings, key=texts.index)
    assert [text for text in texts if matches(parts.middle, text)] == sorted(middles, key=texts.index)


@pytest.mark.parametrize(
    "expression",
    [
        r"[[:alpha:]\]x]+",
        r"[^]]",
        r"\pN\p{Greek}\x41\x{1F600}\101",
        r"(?P<name>a)(?<other>b)(?s-i:.)",
        "a{,3}{b",
        r"\(\)\|\[\{",
        "a|",
        "x{2}?y",
    ],
)
def test_syntax_is_kept(expression: str) -> None:
    parts = parts_of(expression)
    for text in ("x]", "a", "7α", "()|[{", "ab.", "a{,3}{b", "xxy", "aλAA😀A", "7αA😀A", ""):
        assert matches(parts.whole, text) == matches(expression, text)
        assert re2.compile(parts.middle)


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("(?i)word", r"group of their own, such as \(\?i:word\)"),
        (r"\Qa\E", "not allowed; write the text out"),
        (r"a\C", "not allowed"),
        ("(" * 41 + "a" + ")" * 41, "deeper than 40"),
        ("a)", r"a \) without its \("),
        ("[a", "cannot be read from character 1 on"),
    ],
)
def test_an_expression_that_cannot_be_taken_apart_is_refused(expression: str, complaint: str) -> None:
    with pytest.raises(PatternError, match=complaint):
        parts_of(expression)


@pytest.mark.parametrize(
    ("expression", "beginning", "ending", "middle"),
    [
        ("a", {""}, {""}, {""}),
        ("ab*", {"", "a", "ab", "abb"}, {"", "b", "bb"}, {"", "b", "bb"}),
        ("ab*c", {"", "a", "ab", "abb"}, {"", "c", "bc", "bbc"}, {"", "b", "bb"}),
    ],
)
def test_the_example_drawn_in_the_module_is_what_it_computes(
    expression: str, beginning: set[str], ending: set[str], middle: set[str]
) -> None:
    parts = parts_of(expression)
    texts = ["".join(letters) for length in range(4) for letters in itertools.product("abc", repeat=length)]
    for part, expected in ((parts.beginning, beginning), (parts.ending, ending), (parts.middle, middle)):
        found = {text for text in texts if re2.fullmatch(part, text)}
        assert {text for text in found if text.count("b") < 3} == expected
