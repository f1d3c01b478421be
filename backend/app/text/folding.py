"""Folds text for searching, so that characters that look alike match and invisible ones do not count.

Each character is folded alone, so that a text can be folded piece by piece.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from functools import lru_cache
from typing import TypeAlias

Fold: TypeAlias = Callable[[str], str]
"""A function from one character to the characters that stand for it in a search: one, several or none."""

_INVISIBLE_LETTERS_AND_MARKS = (
    (0x034F, 0x034F),  # combining grapheme joiner
    (0x115F, 0x1160),  # Hangul fillers
    (0x17B4, 0x17B5),  # Khmer inherent vowels
    (0x180B, 0x180F),  # Mongolian variation selectors
    (0x3164, 0x3164),  # Hangul filler
    (0xFE00, 0xFE0F),  # variation selectors
    (0xFFA0, 0xFFA0),  # halfwidth Hangul filler
    (0xE0100, 0xE01EF),  # more variation selectors
)


@lru_cache(maxsize=65_536)
def as_written(character: str) -> str:
    """The character with full-width and other compatibility forms made plain (NFKC); expressions see text so."""
    return _visible(unicodedata.normalize("NFKC", character))


@lru_cache(maxsize=65_536)
def decomposed(character: str) -> str:
    """The character as in `as_written`, with accents apart from letters (NFKD), so that both spellings of é agree."""
    return _visible(unicodedata.normalize("NFKD", character))


@lru_cache(maxsize=65_536)
def caseless(character: str) -> str:
    """The character as in `decomposed`, with capitals made small: ß is ss."""
    return _visible(unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", character).casefold()))


def is_word_character(character: str) -> bool:
    """Whether the character is a letter, digit or accent of any script, or the underscore."""
    return character == "_" or unicodedata.category(character)[0] in "LNM"


def _visible(characters: str) -> str:
    return "".join(_valid(character) for character in characters if not _is_invisible(character))


def _valid(character: str) -> str:
    """The character, or U+FFFD for half of a surrogate pair, which is no text."""
    return "\ufffd" if "\ud800" <= character <= "\udfff" else character


def _is_invisible(character: str) -> bool:
    category = unicodedata.category(character)
    if category == "Cc":
        return not character.isspace()
    return category == "Cf" or any(first <= ord(character) <= last for first, last in _INVISIBLE_LETTERS_AND_MARKS)
