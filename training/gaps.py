"""Cuts a text as a cursor or a selection would, to get the spans that infilling is trained on.

Prefix, middle and suffix are tokenized separately, as at inference, so cuts may fall inside what would be one token.
"""

from __future__ import annotations

import re

import numpy as np

MAX_GAP_LINES = 4
MAX_GAP_WORDS = 40


def line_gap(text: str, chance: np.random.Generator) -> tuple[int, int]:
    """The span of a run of whole lines after the first; its last newline and its first indent are inside or outside."""
    starts = [0, *(match.end() for match in re.finditer("\n", text)), len(text)]
    starts = sorted(set(starts))
    if len(starts) < 3:
        return word_gap(text, chance)
    first = int(chance.integers(1, len(starts) - 1))
    count = int(min(chance.geometric(0.6), MAX_GAP_LINES, len(starts) - 1 - first))
    start, end = starts[first], starts[first + count]
    if chance.random() < 0.5 and text[end - 1] == "\n" and end - 1 > start:
        end -= 1
    if chance.random() < 0.3:
        start += len(text[start:end]) - len(text[start:end].lstrip(" "))
    return start, end


def word_gap(text: str, chance: np.random.Generator) -> tuple[int, int]:
    """The span of a run of words and signs of any length, cut before or after the white space around it."""
    borders = [0, *(match.start() for match in re.finditer(r"(?<=\s)\S|\s|(?<=\w)\W|(?<=\W)\w", text)), len(text)]
    borders = sorted(set(borders))
    if len(borders) < 3:
        return 0, len(text)
    longest = min(2 * MAX_GAP_WORDS, len(borders) - 2)
    count = int(np.exp(chance.uniform(0, np.log(longest + 1))))
    first = int(chance.integers(1, len(borders) - count)) if len(borders) - count > 1 else 1
    return borders[first], borders[min(first + count, len(borders) - 1)]


def cursor(text: str, chance: np.random.Generator) -> int:
    """The offset to continue from: the end of a line or of a word, or rarely the very beginning."""
    offsets = [match.start() for match in re.finditer(r"\n|(?<=\n)|\s|(?<=[\s(.\[])", text)] or [0]
    return offsets[int(chance.integers(0, len(offsets)))]
