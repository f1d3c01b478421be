"""Searches for a pattern in a text that comes piece by piece, or that has gaps.

Worked example, `ab*c` in a stream (offsets of the text; a match is settled once no further text can change it):

    fed      text so far   open_start   settled match
    "xab"    xab           1            -                    `ab` may become a match
    "b"      xabb          1            -
    "cab"    xabbcab       5            [1, 5) = `abbc`      the second `ab` is open
    "x"      xabbcabx      8            -                    `abx` can become no match

The same expression in a text with gaps, pieces 0 to 4: `za █ b █ q` has the pieces 0 and 2 at risk (`a` may begin a
match and `b` continue it), piece 4 not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TypeAlias

from app.text.line_ends import to_lf
from app.text.pattern import Pattern

Span: TypeAlias = tuple[int, int]
"""The half-open interval [start, end) of character offsets."""

_CHUNK_CHARACTERS = 512
"""The number of characters searched at a time, so that the work grows linearly with the length of a text."""

_PART_OF_CHARACTER = "\ufffd"
_SPECIAL_TOKEN = re.compile(r"<[^<>\s]+>|\[[A-Z]+\]")
"""The expression for the name of a token without text, such as `<|endoftext|>`; ordinary text may look like it."""


class PatternSearch:
    """Finds a pattern in one text.

    The spans from `feed` and `flush` depend on the whole text only, not on how it was split. They come in order,
    each as soon as no further text can change it. Two may share a character that folds into several, such as ß.
    """

    def __init__(self, pattern: Pattern) -> None:
        self._pattern = pattern
        self._folded = ""  # from the character before `_position` on: the character before a match can matter
        self._origins: list[int] = []  # for each folded character, the offset of its origin in the text
        self._position = 0  # [0, _position) of the folded text is settled
        self._num_characters = 0
        self._is_after_return = False

    @property
    def open_start(self) -> int:
        """The offset in the text from which on a match may still begin; all text before it is settled."""
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
        r"""The character as a pattern sees it: `\n` for each line end, nothing for the second half of `\r\n`."""
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
        """The span of the text that a span of the folded text comes from."""
        return self._origins[match[0]], self._origins[match[1] - 1] + 1

    def _forget_before(self, position: int) -> None:
        kept_from = max(0, position - 1)
        self._folded = self._folded[kept_from:]
        self._origins = self._origins[kept_from:]
        self._position = position - kept_from


def find_all(pattern: Pattern, text: str) -> list[Span]:
    """The spans of all matches in a whole text."""
    search = PatternSearch(pattern)
    return search.feed(text) + search.flush()


def pieces_at_risk(pattern: Pattern, pieces: Sequence[str | None]) -> set[int]:
    """The indices of the pieces that may be part of a match for some content of the gaps.

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
    """The runs of adjacent pieces whose text is known, each with the index of its first piece."""
    for is_known, run in groupby(enumerate(pieces), key=lambda item: item[1] is not None):
        indexed = list(run)
        if is_known:
            yield indexed[0][0], [piece for _, piece in indexed if piece is not None]


def _folded(pattern: Pattern, run: Sequence[str]) -> tuple[str, list[int]]:
    """The folded text of a run, and for each character the index of its piece."""
    folded = ["".join(map(pattern.fold, to_lf(piece))) for piece in run]
    origins = [index for index, piece in enumerate(folded) for _ in piece]
    return "".join(folded), origins


def _spans_at_risk(pattern: Pattern, text: str, *, has_gap_before: bool) -> Iterator[Span]:
    start = 0
    while (match := pattern.first_match(text, start)) is not None:
        yield match
        start = match[0] + 1  # overlapping matches too: the content of the gap decides which of them counts
    yield pattern.open_start(text, 0), len(text)
    if has_gap_before:
        yield 0, pattern.ending_length(text)
        if pattern.may_surround(text):
            yield 0, len(text)
