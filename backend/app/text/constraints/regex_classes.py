r"""Named classes of characters in regular expressions.

Dialects differ in them: \d is ASCII in ECMA 262 and Unicode in Python. Here a class has its ASCII members, and its
complement leaves out what any dialect counts as a member; so a text that is accepted matches in both dialects.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from functools import cache

from app.text.constraints.characters import ANY, complement, union
from app.text.constraints.language import Ranges


@dataclass(frozen=True)
class CharacterClass:
    """The characters that are surely members, and those that may be in some dialect."""

    surely: Ranges
    perhaps: Ranges

    def negated(self) -> CharacterClass:
        """The class of all other characters."""
        return CharacterClass(complement(self.perhaps), complement(self.surely))

    def joined(self, other: CharacterClass) -> CharacterClass:
        """The class of the members of either."""
        return CharacterClass(union((*self.surely, *other.surely)), union((*self.perhaps, *other.perhaps)))


def single(point: int) -> CharacterClass:
    """The class of one character."""
    return span(point, point)


def span(low: int, high: int) -> CharacterClass:
    """The class of a range of characters."""
    return CharacterClass(((low, high),), ((low, high),))


NOTHING = CharacterClass((), ())
LINE_ENDS: Ranges = ((0x0A, 0x0A), (0x0D, 0x0D), (0x2028, 0x2029))
"""The characters that a dot leaves out: those of ECMA 262, of which Python's is one."""
DOT = CharacterClass(complement(LINE_ENDS), ANY)

ASCII_MEMBERS: dict[str, Ranges] = {
    "d": union([(0x30, 0x39)]),
    "w": union([(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)]),
    "s": union([(0x09, 0x0D), (0x20, 0x20)]),
}
BYTE_ORDER_MARK = (0xFEFF, 0xFEFF)
"""White space in ECMA 262 alone."""


@cache
def named(letter: str) -> CharacterClass:
    r"""The class of \d, \w or \s, or of \D, \W or \S."""
    if letter.isupper():
        return named(letter.lower()).negated()
    surely = ASCII_MEMBERS[letter]
    extra = (BYTE_ORDER_MARK,) if letter == "s" else ()
    return CharacterClass(surely, union((*surely, *extra, *_unicode_members(letter))))


def _unicode_members(letter: str) -> Ranges:
    """The members by the Unicode tables of this Python."""
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    return tuple((match.start(), match.end() - 1) for match in re.finditer(rf"\{letter}+", everything))
