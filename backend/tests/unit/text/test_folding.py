import pytest

from app.text.folding import as_written, caseless, decomposed, is_word_character


def folded(text: str) -> str:
    return "".join(map(caseless, text))


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("STRASSE", "straße"),
        ("ＢＯＭＢ", "bomb"),
        ("ﬁre", "FIRE"),
        ("e\u0301", "É"),
        ("bo\u200bm\u00adb\u2060", "bomb"),
        ("b\ufe0fo\u202em\x00b", "bomb"),
        ("Σίσυφος", "ΣΊΣΥΦΟΣ"),
        ("\ud83d", "\ufffd"),
    ],
)
def test_characters_that_look_alike_are_equal(text: str, same: str) -> None:
    assert folded(text) == folded(same)


@pytest.mark.parametrize(("text", "other"), [("о", "o"), ("é", "e"), ("0", "o"), ("a b", "ab")])
def test_other_letters_stay_others(text: str, other: str) -> None:
    assert folded(text) != folded(other)


def test_an_expression_sees_capitals_and_whole_letters() -> None:
    assert "".join(map(as_written, "Éｘ\u200b")) == "Éx"
    assert decomposed("É") == "E\u0301"


def test_white_space_is_seen() -> None:
    assert folded("a\t\n\x85\u2028b") == "a\t\n\x85\u2028b"


def test_words_are_letters_digits_and_accents_of_any_script() -> None:
    assert all(map(is_word_character, "aZ5_é\u0301漢٣"))
    assert not any(map(is_word_character, " -.'’\n€"))
