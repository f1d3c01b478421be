"""Regular expressions against the module re over all short texts, and what is refused."""

from __future__ import annotations

import json
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.text.constraints.compile import compile_constraint
from app.text.errors import ConstraintError
from tests.unit.text.constraints.automata import BYTES, accepts_text, texts_over, walk

SHORT = texts_over("ab", 5)

ATOMS = st.sampled_from(["a", "b", "ab", "[ab]", "[^a]", "."])
PATTERNS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.builds("({}|{})".format, inner, inner),
        st.builds("{}{}".format, inner, inner),
        st.builds(
            "(?:{}){}".format, inner, st.sampled_from(["*", "+", "?", "{2}", "{1,2}", "{1,}", "{0,3}", "*?", "??"])
        ),
    ),
    max_leaves=6,
)


@given(PATTERNS)
def test_a_pattern_accepts_what_a_full_match_does(pattern: str) -> None:
    constraint = compile_constraint("regex", pattern, BYTES)
    expression = re.compile(pattern)
    assert [text for text in SHORT if accepts_text(constraint, text)] == [
        text for text in SHORT if expression.fullmatch(text)
    ]


LOOK = st.builds("(?{}{}{})".format, st.sampled_from("=!"), PATTERNS, st.sampled_from(["", "$", "|b$", "$|ba"]))
LOOKS = st.lists(LOOK, max_size=3).map("".join)


@given(LOOKS, PATTERNS, LOOKS, PATTERNS)
def test_a_pattern_with_look_aheads_accepts_what_a_full_match_does(
    looks: str, pattern: str, other_looks: str, other_pattern: str
) -> None:
    both = f"{looks}{pattern}|{other_looks}{other_pattern}"
    expression = re.compile(both)
    wanted = [text for text in SHORT if expression.fullmatch(text)]
    if not wanted:
        return
    constraint = compile_constraint("regex", both, BYTES)
    assert [text for text in SHORT if accepts_text(constraint, text)] == wanted


@given(LOOKS, PATTERNS)
def test_a_schema_with_look_aheads_accepts_what_a_search_does(looks: str, pattern: str) -> None:
    expression = re.compile(f"^{looks}{pattern}")
    wanted = [text for text in SHORT if expression.search(text)]
    if not wanted:
        return
    constraint = compile_constraint("json_schema", {"type": "string", "pattern": expression.pattern}, BYTES)
    assert [text for text in SHORT if accepts_text(constraint, f'"{text}"')] == wanted


@pytest.mark.parametrize(
    ("pattern", "texts", "others"),
    [
        (r"^(?=.*\d)(?=.*[a-z])(?=.*[A-Z]).{8,12}$", ["Passw0rds", "aaaaaaA1"], ["password1", "Pass1", "PASSWORD1"]),
        (r"^(?!.*--)[a-z-]+$", ["a-b", "-"], ["a--b", ""]),
        (r"^(?!con$|prn$)\w+$", ["cons", "con_", "a"], ["con", "prn"]),
        (r"^(?!\d)[^\s]+$", ["a1", "x"], ["1a", "\u0661a"]),
        (r'^(?!/)(?=.*").+$', ['a"', '"/'], ['/"', "a"]),
    ],
)
def test_look_aheads_of_usual_patterns_in_a_schema(pattern: str, texts: list[str], others: list[str]) -> None:
    """The last but one: a digit that only some dialects count as one does not begin a text either."""
    constraint = compile_constraint("json_schema", {"type": "string", "pattern": pattern}, BYTES)
    assert all(accepts_text(constraint, json.dumps(text, ensure_ascii=False)) for text in texts)
    assert not any(accepts_text(constraint, json.dumps(text, ensure_ascii=False)) for text in others)
    chance = random.Random(pattern)
    assert all(re.search(pattern, json.loads(walk(constraint, chance))) for _ in range(30))


@pytest.mark.parametrize(
    "pattern",
    [
        r"\d{2}-\D\w\W",
        r"[\w.+-]+@\w+\.[a-z]{2,}",
        r"\s\S\x41\u00e9\t\.[\]\\^-]",
        r"^(?:ja|nein)$|^vielleicht$",
        r"(?P<year>\d{4})(?:-(?P<month>0[1-9]|1[0-2]))?",
        r"[^\d\s\"]{3}",
        r"[α-ω]+|日本|😀{2}",
        r"(a|b)*?c+?",
    ],
)
def test_texts_that_are_drawn_match(pattern: str) -> None:
    constraint = compile_constraint("regex", pattern, BYTES)
    chance = random.Random(pattern)
    texts = [walk(constraint, chance).decode() for _ in range(50)]
    assert len(set(texts)) > 1
    assert all(re.fullmatch(pattern, text) for text in texts)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("a(?=a)a", "look-ahead behind its beginning"),
        ("((?!b)a)", "look-ahead behind its beginning"),
        ("(?=(?=a)a)a", "look-ahead behind its beginning"),
        ("a(?<=a)", "look-behind"),
        ("(?<!a)b", "look-behind"),
        (r"(a)\1", "back-reference"),
        ("(?P<x>a)(?P=x)", "back-reference"),
        (r"\bword\b", "word boundary"),
        (r"\Aa\Z", "anchor"),
        ("a^b", "anchor inside the expression"),
        ("(^a)", "anchor inside the expression"),
        ("(?i)a", "flag or unknown group"),
        ("(?>a)", "atomic group"),
        ("a++", "possessive quantifier"),
        (r"\p{L}", "Unicode property"),
        ("[[:alpha:]]", "POSIX class"),
        ("[]a]", "class that is empty or begins with ]"),
        (r"\a", "escape \\a"),
    ],
)
def test_what_is_not_regular_or_not_known_is_refused_by_name(pattern: str, name: str) -> None:
    with pytest.raises(ConstraintError, match=f"has an? {re.escape(name)} at character") as caught:
        compile_constraint("regex", pattern, BYTES)
    assert caught.value.keyword == name


@pytest.mark.parametrize(
    "pattern", ["(a", "a)", "[a", "*a", "a**", "a{2", "a{3,1}", "[b-a]", r"[\d-z]", "\\", r"\x1", "\ud800"]
)
def test_a_pattern_that_is_none_is_refused_with_its_place(pattern: str) -> None:
    with pytest.raises(ConstraintError, match="not valid at character"):
        compile_constraint("regex", pattern, BYTES)


def test_a_pattern_without_any_text_is_refused() -> None:
    with pytest.raises(ConstraintError, match="No text matches"):
        compile_constraint("regex", r"a[^\s\S]", BYTES)


@pytest.mark.parametrize("text", ["\u2028", "\r", "\n"])
def test_a_dot_is_no_end_of_a_line(text: str) -> None:
    assert not accepts_text(compile_constraint("regex", ".", BYTES), text)


def test_a_class_is_ascii_and_its_complement_leaves_out_what_unicode_counts() -> None:
    digit, other = (compile_constraint("regex", pattern, BYTES) for pattern in (r"\d", r"\D"))
    assert [accepts_text(digit, text) for text in "7٧x"] == [True, False, False]
    assert [accepts_text(other, text) for text in "7٧x"] == [False, False, True]
