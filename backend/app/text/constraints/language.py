"""Languages of text as a tree, written by the regex parser and by the translator of JSON schemas alike.

The leaves are characters and bytes; every text of a language is valid UTF-8 as long as its leaves are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.text.constraints.dfa import Dfa

Ranges = tuple[tuple[int, int], ...]
"""Code points from first to last, both included, ascending and apart."""


@dataclass(frozen=True, slots=True)
class Chars:
    """One character out of a set."""

    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Literal:
    """A text, as its bytes."""

    text: bytes


@dataclass(frozen=True, slots=True)
class Sequence:
    """The parts, one behind the other."""

    parts: tuple[Language, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the parts."""

    parts: tuple[Language, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """A part, from low to high times (None: without an end), with a separator in between."""

    part: Language
    low: int
    high: int | None
    separator: Language = Literal(b"")


@dataclass(frozen=True, slots=True)
class Members:
    """Some of the parts, in their order, with a separator in between; a part that is required is always there."""

    parts: tuple[tuple[Language, bool], ...]
    separator: Language


@dataclass(frozen=True, slots=True, eq=False)
class Machine:
    """The language of an automaton that stands already."""

    dfa: Dfa


Language = Chars | Literal | Sequence | Choice | Repeat | Members | Machine

NEVER: Language = Choice(())
"""The language without any text."""
EMPTY: Language = Literal(b"")
"""The language with the empty text alone."""


def sequence(*parts: Language) -> Language:
    """The parts behind each other; NEVER where one of them is."""
    if any(part == NEVER for part in parts):
        return NEVER
    shown = tuple(part for part in parts if part != EMPTY)
    return shown[0] if len(shown) == 1 else Sequence(shown) if shown else EMPTY


def choice(parts: Iterable[Language]) -> Language:
    """One of the parts, without those that have no text; NEVER where none is left."""
    shown = tuple(dict.fromkeys(part for part in parts if part != NEVER))
    return shown[0] if len(shown) == 1 else Choice(shown)


def repeat(part: Language, low: int, high: int | None, separator: Language = EMPTY) -> Language:
    """A part from low to high times; NEVER where the bounds or the part leave no text."""
    if high is not None and low > high:
        return NEVER
    if part == NEVER or high == 0:
        return EMPTY if low == 0 else NEVER
    if part == EMPTY and separator == EMPTY:
        return EMPTY
    return part if (low, high) == (1, 1) else Repeat(part, low, high, separator)


def optional(part: Language) -> Language:
    """A part that may be absent."""
    return repeat(part, 0, 1)


def text(value: str) -> Language:
    """One text alone."""
    return Literal(value.encode())
