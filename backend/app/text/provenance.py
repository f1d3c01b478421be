"""Text that knows which of its characters a template wrote, so that a message can never spell a special token.

A message is an ordinary string, and every operation of a template on it gives exactly what it gives anywhere else. Only
the template's own text is marked. Where the marks of an operation cannot be followed they are lost, never made up: such
text is treated like a message's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from typing import Any, SupportsIndex

_OF_MESSAGE, _OF_TEMPLATE = b"\0", b"\1"
_STAND_IN = "\ufffd"
"""The character that replaces each one of a message while the marks of an operation are searched for."""


class Traced(str):
    """A string with a mark for each character: 1 where the template wrote it, 0 where a message did, or may have."""

    __slots__ = ("marks",)
    marks: bytes

    def __new__(cls, text: str, marks: bytes | None = None) -> Traced:
        traced = super().__new__(cls, text)
        traced.marks = marks_of(text) if marks is None else marks
        return traced

    def masked(self, stand_in: str) -> str:
        """The text with `stand_in` instead of every character of a message that is not white space."""
        pairs = zip(str.__iter__(self), self.marks, strict=True)
        return "".join(character if is_own or character.isspace() else stand_in for character, is_own in pairs)

    # The result of an operation is cut from the text, joined from texts, or followed with stand-ins.

    def __str__(self) -> str:
        return self

    def __add__(self, other: str) -> str:
        return joined((self, other)) if type(other) in (str, Traced) else NotImplemented

    def __radd__(self, other: str) -> str:
        return joined((other, self)) if type(other) is str else NotImplemented

    def __mul__(self, count: SupportsIndex) -> str:
        return Traced(str.__mul__(self, count), self.marks * count.__index__())

    __rmul__ = __mul__

    def __mod__(self, values: Any) -> str:
        return followed(str.__mod__, self, values)

    def __getitem__(self, key: SupportsIndex | slice) -> str:
        place = key if isinstance(key, slice) else slice(key.__index__(), (key.__index__() + 1) or None)
        return Traced(str.__getitem__(self, key), self.marks[place])

    def __iter__(self) -> Iterator[str]:
        return (self._cut(index, index + 1) for index in range(len(self)))

    def join(self, parts: Iterable[str]) -> str:
        texts = list(parts)
        return joined(piece for index, text in enumerate(texts) for piece in ((self, text) if index else (text,)))

    def replace(self, old: str, new: str, count: SupportsIndex = -1, /) -> str:
        if not old:
            return followed(str.replace, self, old, new, count)
        return traced(new).join(self.split(old, count))

    def strip(self, characters: str | None = None, /) -> str:
        start = len(self) - len(str.lstrip(self, characters))
        return self._cut(start, max(start, len(str.rstrip(self, characters))))

    def lstrip(self, characters: str | None = None, /) -> str:
        return self._cut(len(self) - len(str.lstrip(self, characters)), len(self))

    def rstrip(self, characters: str | None = None, /) -> str:
        return self._cut(0, len(str.rstrip(self, characters)))

    def removeprefix(self, prefix: str, /) -> str:
        return self._cut(len(self) - len(str.removeprefix(self, prefix)), len(self))

    def removesuffix(self, suffix: str, /) -> str:
        return self._cut(0, len(str.removesuffix(self, suffix)))

    def split(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        return self._located(str.split(self, sep, maxsplit), sep)

    def rsplit(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        return self._located(str.rsplit(self, sep, maxsplit), sep)

    def splitlines(self, keepends: bool = False) -> list[str]:
        return self._located(str.splitlines(self, keepends), None)

    def partition(self, sep: str, /) -> tuple[str, str, str]:
        head, middle, tail = self._located(str.partition(self, sep), "")
        return head, middle, tail

    def rpartition(self, sep: str, /) -> tuple[str, str, str]:
        head, middle, tail = self._located(str.rpartition(self, sep), "")
        return head, middle, tail

    def _cut(self, start: int, stop: int) -> Traced:
        return Traced(str.__getitem__(self, slice(start, stop)), self.marks[start:stop])

    def _located(self, parts: Iterable[str], between: str | None) -> list[str]:
        """The parts, which follow one another in this text, with their marks.

        `between` is the text after each part; `None` if only white space separates them.
        """
        located: list[str] = []
        position = 0
        for part in parts:
            position = str.find(self, part, position) if between is None else position
            located.append(self._cut(position, position + len(part)))
            position += len(part) + len(between or "")
        return located


def traced(text: str) -> Traced:
    """The text with its marks; text without marks counts as a message's."""
    return text if isinstance(text, Traced) else Traced(text)


def own(text: str) -> Traced:
    """The text, marked as written by the template."""
    return Traced(text, _OF_TEMPLATE * len(text))


def marks_of(text: str) -> bytes:
    """A mark for each character, as in `Traced`."""
    return text.marks if isinstance(text, Traced) else _OF_MESSAGE * len(text)


def joined(texts: Iterable[str]) -> Traced:
    """The texts joined, with their marks."""
    pieces = list(texts)
    return Traced("".join(pieces), b"".join(map(marks_of, pieces)))


def followed(operation: Callable[..., str], /, *values: Any, **named: Any) -> str:
    """The result of an operation, with the marks of its arguments.

    The marks are found by repeating the operation with stand-ins for a message's characters. An operation that looks at
    these characters gives a different result, and then all of its text counts as a message's.
    """
    text = operation(*values, **named)
    try:
        shadow = operation(*map(_with_stand_ins, values), **_with_stand_ins(named))
    except Exception:  # whatever the operation raises for a text that it cannot take
        return Traced(text, _OF_MESSAGE * len(text))
    return Traced(text, _agreement(text, shadow))


def _agreement(text: str, shadow: str) -> bytes:
    pairs = list(zip(str.__iter__(text), str.__iter__(shadow), strict=False))
    if len(text) != len(shadow) or any(other not in (character, _STAND_IN) for character, other in pairs):
        return _OF_MESSAGE * len(text)
    return bytes(other != _STAND_IN for _, other in pairs)


def _with_stand_ins(value: Any) -> Any:
    if isinstance(value, str):
        marks = marks_of(value)
        return "".join(c if is_own else _STAND_IN for c, is_own in zip(str.__iter__(value), marks, strict=True))
    if isinstance(value, list | tuple):
        return type(value)(map(_with_stand_ins, value))
    if isinstance(value, Mapping):
        return {key: _with_stand_ins(item) for key, item in value.items()}
    return value


def _following(operation: Callable[..., str]) -> Callable[..., str]:
    @wraps(operation)
    def follow(*values: Any, **named: Any) -> str:
        return followed(operation, *values, **named)

    return follow


for _name in (
    *("upper", "lower", "title", "capitalize", "swapcase", "casefold"),
    *("center", "ljust", "rjust", "zfill", "expandtabs", "translate"),
):
    setattr(Traced, _name, _following(getattr(str, _name)))
