import pytest

from app.text.errors import PatternError
from app.text.pattern import Pattern, pattern_of_expression, patterns_of_terms
from app.text.search import find_all


def found(pattern: Pattern, text: str) -> list[str]:
    return [text[start:end] for start, end in find_all(pattern, text)]


def terms(*words: str, ignore_case: bool = True, whole_words: bool = True) -> Pattern:
    (pattern,) = patterns_of_terms(words, ignore_case=ignore_case, whole_words=whole_words)
    return pattern


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("a FORBIDDEN word", ["FORBIDDEN"]),
        ("ｆorb\u200bidden", ["ｆorb\u200bidden"]),
        ("forbidden,forbidden", ["forbidden", "forbidden"]),
        ("unforbidden forbiddens forbidden_ 1forbidden", []),
        ("Anubis\n  Two", ["Anubis\n  Two"]),
        ("anubis two hundred", ["anubis two"]),
        ("anubis twofold", ["anubis"]),
        ("c++ and .net, c++11", ["c++", ".net"]),
        ("cafe\u0301 and café", ["cafe\u0301", "café"]),
        ("cafe", []),
    ],
)
def test_terms_are_whole_words_in_any_spelling(text: str, matches: list[str]) -> None:
    assert found(terms("forbidden", "anubis", "Anubis two", "c++", ".net", "Café"), text) == matches


def test_terms_may_be_parts_of_words_and_have_a_case() -> None:
    assert found(terms("bid", whole_words=False), "forBIDden") == ["BID"]
    assert found(terms("Bid", ignore_case=False), "Bid bid BID") == ["Bid"]
    assert found(terms("ab", "abab", whole_words=False), "ababab") == ["abab", "ab"]


def test_a_term_longer_than_the_longest_match_is_found() -> None:
    (pattern,) = patterns_of_terms(["한국말 전부"], max_length=3)
    assert found(pattern, "그 한국말 전부, 한국말  전부") == ["한국말 전부"]
    assert patterns_of_terms([]) == []


def test_a_match_covers_the_whole_of_a_letter() -> None:
    assert found(terms("fi", whole_words=False), "of ﬁre") == ["ﬁ"]
    assert found(terms("i", whole_words=False), "of ﬁre") == ["ﬁ"]


def test_many_terms_are_several_patterns() -> None:
    patterns = patterns_of_terms([f"word{number}" for number in range(2_000)])
    assert len(patterns) > 1
    for number in (0, 999, 1_999):
        assert sum(len(find_all(pattern, f"a word{number} b")) for pattern in patterns) == 1


def test_an_expression_matches_compatibility_forms_and_ignores_case() -> None:
    pattern = pattern_of_expression(r"\bid[- ]\d{3}\b")
    assert found(pattern, "ID-123, id １２３, id-1234, void-123") == ["ID-123", "id １２３"]
    assert found(pattern_of_expression("A", ignore_case=False), "aA") == ["A"]
    assert found(pattern_of_expression("é|ü", whole_words=True), "é ü éü") == ["é", "ü"]


def test_the_first_alternative_wins_and_repetition_can_be_lazy() -> None:
    assert found(pattern_of_expression("a|ab"), "ab") == ["a"]
    assert found(pattern_of_expression("<.*?>"), "<a><b>") == ["<a>", "<b>"]


def test_long_matches_do_not_count() -> None:
    pattern = pattern_of_expression("<.*>|!+", max_length=5)
    assert found(pattern, "<abc> <abcd> !!!!!!!") == ["<abc>", "!!!!!", "!!"]


def test_positions_are_those_of_the_whole_text() -> None:
    assert found(pattern_of_expression("^a|b$|(?m:^c)"), "abab\nca\nb") == ["a", "c", "b"]


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("(a", r"missing \): \(a"),
        (r"(a)\1", "invalid escape sequence"),
        ("(?=a)b", "invalid perl operator|invalid"),
        ("a*", "matches the empty text"),
        (r"\b", "matches the empty text"),
        ("", "matches the empty text"),
        (r"(?:\pL{30}.?){33}" * 20, "too large; divide it"),
        ("a" * 1_001, "1001 characters, more than 1000"),
        ("\ud800", "not valid Unicode"),
    ],
)
def test_a_bad_expression_says_why(expression: str, complaint: str) -> None:
    with pytest.raises(PatternError, match=complaint):
        pattern_of_expression(expression)


def test_every_text_may_be_inside_a_match_whose_middle_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not pattern_of_expression("abcdefgh").may_surround("x")
    monkeypatch.setattr("app.text.pattern._MAX_COMPILED_CHARACTERS", 200)
    assert pattern_of_expression("abcdefgh").may_surround("x")


@pytest.mark.parametrize("term", ["", "  ", "\u200b"])
def test_a_term_must_show_something(term: str) -> None:
    with pytest.raises(PatternError, match="nothing to look for"):
        patterns_of_terms(["fine", term])
