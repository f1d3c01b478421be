"""Sets of characters as ranges of code points, and their UTF-8 as ranges of bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache

from app.text.constraints.language import Ranges

LAST = 0x10FFFF
ANY: Ranges = ((0, 0xD7FF), (0xE000, LAST))
"""All characters: surrogates are none."""

ByteRange = tuple[int, int]


def union(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """The ranges, ascending, with those that touch joined."""
    joined: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if joined and low <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(joined[-1][1], high))
        else:
            joined.append((low, high))
    return tuple(joined)


def intersection(one: Ranges, other: Ranges) -> Ranges:
    """The code points in both."""
    pairs = ((max(a, c), min(b, d)) for a, b in one for c, d in other)
    return union((low, high) for low, high in pairs if low <= high)


def complement(ranges: Ranges) -> Ranges:
    """All characters that are not in the ranges."""
    ends = [-1, *(point for pair in union(ranges) for point in pair), LAST + 1]
    gaps = [(ends[i] + 1, ends[i + 1] - 1) for i in range(0, len(ends), 2)]
    return intersection(tuple((low, high) for low, high in gaps if low <= high), ANY)


@lru_cache(maxsize=256)
def utf8(ranges: Ranges) -> tuple[tuple[ByteRange, ...], ...]:
    """The UTF-8 of a set of characters, as sequences of ranges of bytes."""
    clean = intersection(union(ranges), ANY)
    return tuple(sequence for low, high in clean for sequence in _of_range(low, high))


LENGTHS = ((0, 0x7F), (0x80, 0x7FF), (0x800, 0xFFFF), (0x10000, LAST))
"""The code points of one byte, of two, of three and of four."""


def _of_range(low: int, high: int) -> Iterator[tuple[ByteRange, ...]]:
    for first, last in LENGTHS:
        if low <= last and high >= first:
            yield from _of_length(chr(max(low, first)).encode(), chr(min(high, last)).encode())


def _of_length(low: bytes, high: bytes) -> Iterator[tuple[ByteRange, ...]]:
    """The sequences between two of the same length.

    E1 80 85 .. E1 82 90 is E1 80 85-BF, E1 81 80-BF and E1 82 80-90.
    """
    if len(low) == 1 or (_is(low[1:], 0x80) and _is(high[1:], 0xBF)):
        yield ((low[0], high[0]), *[(0x80, 0xBF)] * (len(low) - 1))
    elif low[0] == high[0]:
        yield from (((low[0], low[0]), *rest) for rest in _of_length(low[1:], high[1:]))
    elif not _is(low[1:], 0x80):
        yield from _of_length(low, low[:1] + b"\xbf" * (len(low) - 1))
        yield from _of_length(bytes([low[0] + 1]) + b"\x80" * (len(low) - 1), high)
    else:
        yield from _of_length(low, bytes([high[0] - 1]) + b"\xbf" * (len(low) - 1))
        yield from _of_length(high[:1] + b"\x80" * (len(low) - 1), high)


def _is(tail: bytes, value: int) -> bool:
    return all(byte == value for byte in tail)
