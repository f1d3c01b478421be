"""Looking for a pattern in a text that comes piece by piece, or that has gaps."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TypeAlias

from app.text.line_ends import to_lf
from app.text.pattern import Pattern

Span: TypeAlias = tuple[int, int]
"""Half-open: from the first character to the one behind the last."""

_CHUNK_CHARACTERS = 512
"""As much is searched at a time, so that the work grows with the length of a text and not faster."""

_PART_OF_CHARACTER = "\ufffd"
_SPECIAL_TOKEN = re.compile(r"<[^<>\s]+>|\[[A-Z]+\]")
"""Looks like the name of a token without text, such as `<|endoftext|>`; it may be text all the same."""


class PatternSearch:
    """Finds a pattern in one text.

    All spans that `feed` and `flush` give depend on the whole text alone, not on how it was split. They come in order,
    each as soon as no further text can change it. Two may share a character that folds into several, such as ß.
    """

    def __init__(self, pattern: Pattern) -> None:
        self._pattern = pattern
        self._folded = ""  # from the character before `_position` on: what stands before a match can matter
        self._origins: list[int] = []  # of each folded character: where it comes from in the text
        self._position = 0  # [0, _position) of the folded text is settled
        self._num_characters = 0
        self._is_after_return = False

    @property
    def open_start(self) -> int:
        """Where in the text something begins that may still become a match; all before it is settled."""
        return self._origins[self._position] if self._position < len(self._origins) else self._num_characters

    def feed(self, text: str) -> list[Span]:
        """The matches that this further text settles."""
        found: list[Span] = []
        for start in range(0, len(text), _CHUNK_CHARACTERS):
            self._add(text[start : start + _CHUNK_CHARACTERS])
            found += self._settle(is_over=False)
        return found

    def flush(self) -> list[Span]:
        """The matches that the end of the text settles."""
        return self._settle(is_over=True)

    def _add(self, text: str) -> None:
        for offset, character in enumerate(text, self._num_characters):
            folded = self._pattern.fold(self._line_ended(character))
            self._folded += folded
            self._origins += [offset] * len(folded)
        self._num_characters += len(text)

    def _line_ended(self, character: str) -> str:
        r"""A pattern sees `\n` at the end of every line; the second half of `\r\n` shows nothing."""
        is_second_half = self._is_after_return and character == "\n"
        self._is_after_return = character == "\r"
        return "" if is_second_half else to_lf(character)

    def _settle(self, *, is_over: bool) -> list[Span]:
        found = []
        while True:
            end = len(self._folded)
            open_start = end if is_over else self._pattern.open_start(self._folded, self._position)
            match = self._pattern.first_match(self._folded, self._position)
            if match is None or match[0] >= open_start:
                break
            found.append(self._origin(match))
            self._position = match[1]
        self._forget_before(open_start)
        return found

    def _origin(self, match: Span) -> Span:
        """The text that a stretch of the folded text comes from."""
        return self._origins[match[0]], self._origins[match[1] - 1] + 1

    def _forget_before(self, position: int) -> None:
        kept_from = max(0, position - 1)
        self._folded = self._folded[kept_from:]
        self._origins = self._origins[kept_from:]
        self._position = position - kept_from


def find_all(pattern: Pattern, text: str) -> list[Span]:
    """All matches in a whole text."""
    search = PatternSearch(pattern)
    return search.feed(text) + search.flush()


def pieces_at_risk(pattern: Pattern, pieces: Sequence[str | None]) -> set[int]:
    """Which pieces of a text with gaps may be part of a match, whatever comes into the gaps.

    Args:
        pieces: the text from its beginning, with `None` for a gap of unknown length. More text may follow.
    """
    broken = {index for index, piece in enumerate(pieces) if piece is not None and _PART_OF_CHARACTER in piece}
    known = [None if index in broken else piece for index, piece in enumerate(pieces)]
    without_special = [None if piece is None or _SPECIAL_TOKEN.search(piece) else piece for piece in known]
    at_risk = broken | _at_risk(pattern, known)
    return at_risk if without_special == known else at_risk | _at_risk(pattern, without_special)


def _at_risk(pattern: Pattern, pieces: Sequence[str | None]) -> set[int]:
    at_risk: set[int] = set()
    for first, run in _runs(pieces):
        folded, origins = _folded(pattern, run)
        for start, end in _spans_at_risk(pattern, folded, has_gap_before=first > 0):
            at_risk.update(first + origin for origin in origins[start:end])
    return at_risk


def _runs(pieces: Sequence[str | None]) -> Iterator[tuple[int, list[str]]]:
    """Neighbouring pieces whose text is known, with the index of the first."""
    for is_known, run in groupby(enumerate(pieces), key=lambda item: item[1] is not None):
        indexed = list(run)
        if is_known:
            yield indexed[0][0], [piece for _, piece in indexed if piece is not None]


def _folded(pattern: Pattern, run: Sequence[str]) -> tuple[str, list[int]]:
    """The folded text of a run, and of each character which piece it comes from."""
    folded = ["".join(map(pattern.fold, to_lf(piece))) for piece in run]
    origins = [index for index, piece in enumerate(folded) for _ in piece]
    return "".join(folded), origins


def _spans_at_risk(pattern: Pattern, text: str, *, has_gap_before: bool) -> Iterator[Span]:
    start = 0
    while (match := pattern.first_match(text, start)) is not None:
        yield match
        start = match[0] + 1  # overlapping ones too: what is in the gap decides which of them counts
    yield pattern.open_start(text, 0), len(text)
    if has_gap_before:
        yield 0, pattern.ending_length(text)
        if pattern.may_surround(text):
            yield 0, len(text)
