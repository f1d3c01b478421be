import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.diffusion.content_filter.masking import Masking, Refused
from app.services.diffusion.content_filter.rules import Action, Rule
from app.text.pattern import Pattern, pattern_of_expression, patterns_of_terms
from app.text.search import find_all
from tests.profiles import examples

MASKS = ["*", "[gone]", "#"]
PATTERNS = [
    *patterns_of_terms(["ab", "aba", "c c"]),
    *patterns_of_terms(["ab", "bc", "cab"], whole_words=False),
    *patterns_of_terms(["ss", "b"], whole_words=False),
    pattern_of_expression("a+b?"),
    pattern_of_expression("ca*b|cc"),
    pattern_of_expression("b.*c", max_length=4),
]
RULES = st.lists(st.tuples(st.sampled_from(PATTERNS), st.sampled_from(MASKS)), max_size=3).map(
    lambda pairs: [rule(pattern, mask=mask, name=str(index)) for index, (pattern, mask) in enumerate(pairs)]
)
TEXTS = st.text("abcß A\u200b", max_size=12)


def rule(*patterns: Pattern, mask: str = "*", action: Action = "mask", name: str = "rule") -> Rule:
    return Rule(name, patterns, ("output",), action, mask)


def masked(rules: list[Rule], *pieces: str) -> list[str]:
    masking = Masking(rules)
    return [*map(masking.feed, pieces), masking.flush()]


@examples(250)
@given(RULES, st.lists(TEXTS, max_size=8))
def test_the_whole_text_decides_and_not_how_it_was_split(rules: list[Rule], pieces: list[str]) -> None:
    whole = "".join(masked(rules, "".join(pieces)))
    assert "".join(masked(rules, *pieces)) == "".join(masked(rules, *"".join(pieces))) == whole


TERMS = st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=4)


@examples(250)
@given(TERMS, TERMS, st.sampled_from(MASKS), st.lists(TEXTS, max_size=8))
def test_at_no_time_has_a_term_left(some: list[str], others: list[str], mask: str, pieces: list[str]) -> None:
    rules = [rule(*patterns_of_terms(terms, whole_words=False), mask=mask) for terms in (some, others)]
    shown = ""
    for piece in masked(rules, *pieces):
        shown += piece
        letters = shown.replace("[gone]", "#").replace("\u200b", "").casefold()
        assert not any(term in letters for term in some + others)


@examples(150)
@given(RULES, TEXTS)
def test_all_text_but_the_matches_stays(rules: list[Rule], text: str) -> None:
    covered = {
        place
        for rule in rules
        for pattern in rule.patterns
        for start, end in find_all(pattern, text)
        for place in range(start, end)
    }
    stars = [Rule(rule.name, rule.patterns, rule.applies_to, "mask", "*") for rule in rules]
    expected = "".join("*" if place in covered else letter for place, letter in enumerate(text))
    assert "".join(masked(stars, text)) == expected


def test_a_term_split_over_pieces_never_leaves() -> None:
    rules = [rule(*patterns_of_terms(["forbidden"]))]
    assert masked(rules, "a ", "for", "bid", "den", " word") == ["a ", "", "", "", "********* word", ""]
    assert masked(rules, "a ", "for", "ty") == ["a ", "", "forty", ""]
    assert masked(rules, "for", "bidden") == ["", "", "*********"]


def test_text_that_cannot_be_part_of_a_match_is_sent_at_once() -> None:
    rules = [rule(*patterns_of_terms(["forbidden"])), rule(pattern_of_expression(r"\d{3}-\d{4}"))]
    pieces = ["Once", " upon", " a", " time", ", 3 men", "."]
    assert masked(rules, *pieces) == [*pieces, ""]


def test_a_mask_of_one_character_stands_for_each_and_a_longer_one_for_all() -> None:
    (words,) = patterns_of_terms(["secret"])
    assert masked([rule(words, mask="█")], "a se\u200bcret.") == ["a ███████.", ""]
    assert masked([rule(words, mask="[…]")], "a secret.") == ["a […].", ""]


def test_matches_that_overlap_become_one_with_the_mask_of_the_first() -> None:
    rules = [
        rule(pattern_of_expression("bcd"), mask="<second>"),
        rule(pattern_of_expression("abc"), mask="<first>"),
        rule(pattern_of_expression("ab"), mask="<same>"),
    ]
    assert "".join(masked(rules, *"xabcdx")) == "x<first>x"
    assert "".join(masked(rules, "xbcdab")) == "x<second><same>"


def test_a_refusing_rule_ends_the_text() -> None:
    masking = Masking([rule(pattern_of_expression("b+"), name="no b", action="refuse")])
    assert masking.feed("a") == "a"
    assert masking.feed("ab") == "a"
    with pytest.raises(Refused) as caught:
        masking.feed("a")
    assert caught.value.rule.name == "no b"
    assert [rule.name for rule in masking.hits] == ["no b"]


def test_without_rules_nothing_is_held_back() -> None:
    assert masked([], "a", "b") == ["a", "b", ""]
