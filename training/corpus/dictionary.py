"""The English words of Debian's `wamerican` and `wbritish` (SCOWL, a permissive licence), names included."""

from __future__ import annotations

import re
from functools import cache

from training.sources import dictionary_package, fetch, unpack_debian

PACKAGES = ("wamerican", "wbritish")
WORD = re.compile(r"[a-z]+(?:'[a-z]+)?")


@cache
def english_words() -> frozenset[str]:
    """The words in small letters; the packages are downloaded if the cache lacks them."""
    folders = [unpack_debian(fetch(dictionary_package(name))) for name in PACKAGES]
    files = [path for folder in folders for path in folder.glob("usr/share/dict/*-english")]
    return frozenset(word.lower() for path in files for word in path.read_text("utf-8").split())


def words_of(text: str) -> list[str]:
    """The words in small letters, apostrophes inside them kept."""
    return WORD.findall(text.lower())


def unknown_words(text: str, known: frozenset[str]) -> list[str]:
    """The words that are neither known nor a known word with an ending behind an apostrophe."""
    return [word for word in words_of(text) if word not in known and word.split("'")[0] not in known]
