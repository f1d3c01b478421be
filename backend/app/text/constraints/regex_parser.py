"""Regular expressions as languages: the regular part of the usual syntax; all else is refused by name.

Every construct either means the same in Python and in ECMA 262, or is narrowed to what both match.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NoReturn

from app.text.constraints.language import Chars, Language, choice, repeat, sequence
from app.text.constraints.limits import Limits, check_size
from app.text.constraints.regex_classes import DOT, NOTHING, CharacterClass, named, single, span
from app.text.errors import ConstraintError

QUANTIFIER = re.compile(r"\{(\d{1,9})(,(\d{0,9}))?\}")
GROUP_NAME = re.compile(r"\?P?<[A-Za-z_]\w*>|\?:")
LOOK_AHEAD = ("(?=", "(?!")
GROUPS = {
    "?=": "look-ahead behind its beginning",
    "?!": "look-ahead behind its beginning",
    "?<=": "look-behind",
    "?<!": "look-behind",
    "?P=": "back-reference",
    "?>": "atomic group",
    "?(": "conditional group",
    "?#": "comment",
}
ESCAPES = {
    **dict.fromkeys("123456789k", "back-reference"),
    **dict.fromkeys("bB", "word boundary"),
    **dict.fromkeys("AZzG", "anchor"),
    **dict.fromkeys("pP", "Unicode property"),
}
CONTROLS = {"n": 0x0A, "t": 0x09, "r": 0x0D, "f": 0x0C, "v": 0x0B}
HEX = {"x": re.compile("[0-9a-fA-F]{2}"), "u": re.compile("[0-9a-fA-F]{4}"), "U": re.compile("[0-9a-fA-F]{8}")}


@dataclass(frozen=True)
class Look:
    """A look-ahead: its alternatives, one of which the text must begin with, or, where it is negative, none of which.

    The languages of a negative one have the texts that match in any dialect.
    """

    branches: tuple[Branch, ...]
    negative: bool


@dataclass(frozen=True)
class Branch:
    """One alternative of a regular expression, and whether it is anchored at the start and at the end of the text."""

    start: bool
    language: Language
    end: bool
    looks: tuple[Look, ...] = ()
    """The look-aheads at its beginning."""


def parse_regex(pattern: str, limits: Limits) -> list[Branch]:
    """The alternatives of a regular expression; raises ConstraintError with the place of what is not honoured."""
    check_size("characters of its pattern", len(pattern), limits.source_bytes)
    return _Parser(pattern, limits).branches()


class _Parser:
    def __init__(self, pattern: str, limits: Limits) -> None:
        self._pattern = pattern
        self._limits = limits
        self._place = 0
        self._depth = 0
        self._outermost = 0
        """The depth at which an alternative may be anchored at its end."""
        self._negative = False

    def branches(self) -> list[Branch]:
        branches = [self._branch()]
        while self._take("|"):
            branches.append(self._branch())
        if self._peek():
            self._fail("there is a closing parenthesis too many")
        return branches

    def _branch(self) -> Branch:
        start, looks = self._take("^"), []
        while self._pattern.startswith(LOOK_AHEAD, self._place):
            looks.append(self._look())
        return Branch(start, self._sequence(), self._take("$"), tuple(looks))

    def _look(self) -> Look:
        self._negative = self._pattern[self._place + 2] == "!"
        self._place += 3
        self._depth = self._outermost = 1
        branches = [Branch(True, self._sequence(), self._take("$"))]
        while self._take("|"):
            branches.append(Branch(True, self._sequence(), self._take("$")))
        self._close()
        look = Look(tuple(branches), self._negative)
        self._outermost, self._negative = 0, False
        return look

    def _peek(self) -> str:
        return self._pattern[self._place : self._place + 1]

    def _take(self, text: str) -> bool:
        found = self._pattern.startswith(text, self._place)
        self._place += len(text) if found else 0
        return found

    def _match(self, expression: re.Pattern[str]) -> re.Match[str] | None:
        match = expression.match(self._pattern, self._place)
        self._place = match.end() if match else self._place
        return match

    def _fail(self, reason: str) -> NoReturn:
        raise ConstraintError(f"The regular expression is not valid at character {self._place}: {reason}.")

    def _refuse(self, construct: str) -> NoReturn:
        raise ConstraintError(
            f"The regular expression has a {construct} at character {self._place}, which is not honoured. "
            "Write it without.",
            keyword=construct,
        )

    def _sequence(self) -> Language:
        parts = []
        while (following := self._peek()) and following not in "|)":
            if following == "$" and self._depth == self._outermost and self._ends_behind():
                break
            parts.append(self._repeated())
        return sequence(*parts)

    def _ends_behind(self) -> bool:
        return self._pattern[self._place + 1 : self._place + 2] in ("", "|", ")" if self._depth else "")

    def _repeated(self) -> Language:
        part = self._part()
        bounds = self._bounds()
        if bounds is None:
            return part
        if self._take("+"):
            self._refuse("possessive quantifier")
        self._take("?")
        if self._peek() in ("*", "+", "?") and self._peek():
            self._fail("a quantifier follows a quantifier")
        return repeat(part, *bounds)

    def _bounds(self) -> tuple[int, int | None] | None:
        for sign, bounds in {"*": (0, None), "+": (1, None), "?": (0, 1)}.items():
            if self._take(sign):
                return bounds
        if self._peek() != "{":
            return None
        match = self._match(QUANTIFIER)
        if match is None:
            self._fail(r"write a quantifier as {m}, {m,} or {m,n}, and the character itself as \{")
        low, comma, high = match.groups()
        bounds = int(low), int(low) if comma is None else int(high) if high else None
        if bounds[1] is not None and bounds[1] < bounds[0]:
            self._fail("the bounds of a quantifier are the wrong way round")
        return bounds

    def _part(self) -> Language:
        character = self._peek()
        if character in "*+?{":
            self._fail("a quantifier has nothing before it")
        if character in "^$":
            self._refuse("anchor inside the expression")
        self._place += 1
        if character == "(":
            return self._group()
        if character == "[":
            return self._member_of(self._class())
        if character == ".":
            return self._member_of(DOT)
        return self._member_of(self._escape(False) if character == "\\" else self._character(character))

    def _member_of(self, members: CharacterClass) -> Language:
        return Chars(members.perhaps if self._negative else members.surely)

    def _character(self, character: str) -> CharacterClass:
        if 0xD800 <= ord(character) <= 0xDFFF:
            self._fail("half of a surrogate pair is no character")
        return single(ord(character))

    def _group(self) -> Language:
        self._depth += 1
        check_size("groups within groups", self._depth, self._limits.nesting)
        if self._peek() == "?" and not self._match(GROUP_NAME):
            names = (GROUPS[sign] for sign in GROUPS if self._pattern.startswith(sign, self._place))
            self._refuse(next(names, "flag or unknown group"))
        parts = [self._sequence()]
        while self._take("|"):
            parts.append(self._sequence())
        self._close()
        return choice(parts)

    def _close(self) -> None:
        if not self._take(")"):
            self._fail("a closing parenthesis is missing")
        self._depth -= 1

    def _class(self) -> CharacterClass:
        negated = self._take("^")
        if self._peek() == "]":
            self._refuse("class that is empty or begins with ]")
        members = NOTHING
        while not self._take("]"):
            members = members.joined(self._members())
        return members.negated() if negated else members

    def _members(self) -> CharacterClass:
        low = self._member()
        if not self._pattern.startswith("-", self._place) or self._pattern.startswith("-]", self._place):
            return low
        self._place += 1
        first, last = self._point(low), self._point(self._member())
        if last < first:
            self._fail("the ends of a range of characters are the wrong way round")
        return span(first, last)

    def _point(self, members: CharacterClass) -> int:
        if len(members.surely) != 1 or members.surely[0][0] != members.surely[0][1]:
            self._fail("an end of a range of characters is a class")
        return members.surely[0][0]

    def _member(self) -> CharacterClass:
        character = self._peek()
        if not character:
            self._fail("a class of characters is not closed")
        if re.match(r"\[[:.=]", self._pattern[self._place :][:2]):
            self._refuse("POSIX class")
        self._place += 1
        return self._escape(True) if character == "\\" else self._character(character)

    def _escape(self, in_class: bool) -> CharacterClass:
        letter = self._peek()
        if not letter:
            self._fail("there is nothing behind the last backslash")
        self._place += 1
        if letter in "dwsDWS":
            return named(letter)
        if letter in CONTROLS:
            return single(CONTROLS[letter])
        if letter in HEX:
            return self._hexadecimal(letter)
        if letter == "b" and in_class:
            return single(0x08)
        if letter == "0" and not self._peek().isdigit():
            return single(0)
        if letter.isalnum():
            self._refuse(ESCAPES.get(letter, f"escape \\{letter}"))
        return self._character(letter)

    def _hexadecimal(self, letter: str) -> CharacterClass:
        match = self._match(HEX[letter])
        if match is None or int(match[0], 16) > 0x10FFFF:
            self._fail(f"the code point behind \\{letter} is incomplete or too large")
        return self._character(chr(int(match[0], 16)))
