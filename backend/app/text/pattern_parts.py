"""Takes a regular expression apart: into expressions for the beginning, the ending and the middle of its matches.

A text that grows, or has gaps, can be searched safely only if it is known what may still become a match.
Worked example, `ab*c` read from left to right (each row is `then` applied to the row above):

    read    whole   beginning         ending            middle
    a       a       ""                ""                ""
    ab*     ab*     "" a ab abb …     "" b bb …         "" b bb …
    ab*c    ab*c    "" a ab abb …     "" c bc bbc …     "" b bb …

The beginning of `ab*c` is the beginning of `ab*`, or a whole `ab*` and the beginning of `c` (nothing). Its ending is
the ending of `c` (nothing), or the ending of `ab*` and a whole `c`. Its middle lies within `ab*`, within `c`, or is an
ending of `ab*` followed by a beginning of `c`.

`search` uses them so: the stream `xab` ends with the beginning `ab`, so only `x` is settled; and in a text with gaps,
`za█b█q`, the `a` before the first gap is a beginning, and the `b` between the gaps a middle.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from app.text.errors import PatternError

MAX_DEPTH = 40

_ATOM = re.compile(
    r"""  \\ (?: [pP] (?:\{[^}]*\}|.) | x (?:\{[^}]*\}|..) | [0-7]{1,3} | . )   # an escape
        | \[ \^? \]? (?: \[:\^?\w+:\] | \\. | [^\]\\] )* \]                   # a class
        | [^\\\[]                                                             # a character
    """,
    re.VERBOSE | re.DOTALL,
)
_GROUP = re.compile(r"\((?:\?(?:P?<\w+>|([imsU-]*):))?")
_REPETITION = re.compile(r"(?:([*+?])|\{(\d+)(?:(,)(\d*))?\})\??")
_WITHOUT_WIDTH = frozenset({"^", "$", r"\A", r"\z", r"\b", r"\B"})
_NOT_ALLOWED = {r"\Q": "write the text out", r"\C": "write (?s:.)"}


@dataclass(frozen=True, slots=True)
class Parts:
    """A regular expression, and one each for the beginning, the ending and the middle of its matches.

    Each can be concatenated as it is, but needs a group around it before it is repeated. Assertions such as `^` match
    no character and have no parts.
    """

    whole: str
    beginning: str = ""
    """The expression for a match that lacks one or more characters at its end; it may match nothing."""
    ending: str = ""
    """The expression for a match that lacks one or more characters at its beginning."""
    middle: str = ""
    """The expression for a match that lacks one or more characters at both ends."""
    can_be_empty: bool = False

    def then(self, other: Parts) -> Parts:
        return Parts(
            whole=self.whole + other.whole,
            beginning=f"(?:{self.beginning}|{self.whole}{other.beginning})",
            ending=f"(?:{other.ending}|{self.ending}{other.whole})",
            middle=f"(?:{self.middle}|{other.middle}|{self.ending}{other.beginning})",
            can_be_empty=self.can_be_empty and other.can_be_empty,
        )

    def in_group(self, flags: str = "") -> Parts:
        return Parts(
            whole=f"(?{flags}:{self.whole})",
            beginning=f"(?{flags}:{self.beginning})",
            ending=f"(?{flags}:{self.ending})",
            middle=f"(?{flags}:{self.middle})",
            can_be_empty=self.can_be_empty,
        )

    def repeated(self, suffix: str, *, least: int, most: int | None) -> Parts:
        others = _times(self.whole, None if most is None else max(0, most - 1))
        between = _times(self.whole, None if most is None else max(0, most - 2))
        across = f"|{self.ending}{between}{self.beginning}" if most is None or most > 1 else ""
        return Parts(
            whole=f"(?:{self.whole}){suffix}",
            beginning=f"(?:{others}{self.beginning})",
            ending=f"(?:{self.ending}{others})",
            middle=f"(?:{self.middle}{across})",
            can_be_empty=self.can_be_empty or least == 0,
        )


def parts_of(expression: str) -> Parts:
    """The parts of a regular expression that RE2 has accepted.

    Raises:
        PatternError: it uses one of the few constructs that cannot be taken apart.
    """
    return _Reader(expression).read()


def sequence(parts: Sequence[Parts]) -> Parts:
    """The parts of a concatenation; joined in halves, so that groups nest as deep as the logarithm of its length."""
    if not parts:
        return Parts("", can_be_empty=True)
    if len(parts) == 1:
        return parts[0]
    half = len(parts) // 2
    return sequence(parts[:half]).then(sequence(parts[half:]))


def any_of(alternatives: Sequence[Parts]) -> Parts:
    """The parts of alternatives, in their order."""
    if len(alternatives) == 1:
        return alternatives[0]
    return Parts(
        whole="|".join(parts.whole for parts in alternatives),
        beginning="|".join(parts.beginning for parts in alternatives),
        ending="|".join(parts.ending for parts in alternatives),
        middle="|".join(parts.middle for parts in alternatives),
        can_be_empty=any(parts.can_be_empty for parts in alternatives),
    ).in_group()


def _times(whole: str, most: int | None) -> str:
    return f"(?:{whole})*" if most is None else f"(?:{whole}){{0,{most}}}"


class _Reader:
    """Reads an expression by its groups, alternatives and repetitions; the atoms between them stay as they are."""

    def __init__(self, expression: str) -> None:
        self._expression = expression
        self._position = 0
        self._depth = 0

    def read(self) -> Parts:
        parts = self._alternatives()
        if self._position < len(self._expression):
            raise PatternError(f"there is a ) without its ( at character {self._position + 1}")
        return parts

    def _alternatives(self) -> Parts:
        found = [self._sequence()]
        while self._peek() == "|":
            self._position += 1
            found.append(self._sequence())
        return any_of(found)

    def _sequence(self) -> Parts:
        found = []
        while self._peek() not in ("", "|", ")"):
            found.append(self._repeated(self._group() if self._peek() == "(" else self._atom()))
        return sequence(found)

    def _group(self) -> Parts:
        opening = _GROUP.match(self._expression, self._position)
        assert opening is not None
        self._position = opening.end()
        if self._peek() == "?":
            raise PatternError("flags such as (?i) need a group of their own, such as (?i:word)")
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise PatternError(f"groups are nested deeper than {MAX_DEPTH}")
        inside = self._alternatives()
        self._depth -= 1
        self._position += 1  # the closing parenthesis
        return inside.in_group(opening[1] or "")

    def _atom(self) -> Parts:
        found = _ATOM.match(self._expression, self._position)
        if found is None:
            raise PatternError(f"it cannot be read from character {self._position + 1} on")
        self._position = found.end()
        if found[0] in _NOT_ALLOWED:
            raise PatternError(f"{found[0]} is not allowed; {_NOT_ALLOWED[found[0]]}")
        return Parts(found[0], can_be_empty=found[0] in _WITHOUT_WIDTH)

    def _repeated(self, parts: Parts) -> Parts:
        while found := _REPETITION.match(self._expression, self._position):
            self._position = found.end()
            least, most = _bounds(found)
            parts = parts.repeated(found[0], least=least, most=most)
        return parts

    def _peek(self) -> str:
        return self._expression[self._position : self._position + 1]


def _bounds(repetition: re.Match[str]) -> tuple[int, int | None]:
    """The least and the largest number of repetitions; `None` is any number."""
    sign, least, comma, most = repetition.groups()
    if sign:
        return (1 if sign == "+" else 0), (1 if sign == "?" else None)
    if not comma:
        return int(least), int(least)
    return int(least), int(most) if most else None
