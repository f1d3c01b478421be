"""Hides a sentence in the middle of held-out stories, for models to fill from eight masks."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from training.corpus.packed import Text
from training.corpus.split import is_heldout
from training.prepare import unit_hash

MASKS = 8
FEWEST_WORDS, MOST_WORDS = 4, 16
_BORDER = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class HiddenSentence:
    """A story around a sentence; the white space beside the gap belongs to the story."""

    prefix: str
    sentence: str
    suffix: str


def hidden_sentences(texts: Iterable[Text], count: int) -> list[HiddenSentence]:
    """One sentence each of held-out stories, drawn by their hash; neither a story's first nor its last."""
    stories = sorted((text.text for text in texts if text.kind == "story" and is_heldout(text)), key=unit_hash)
    hidden = (hide_sentence(story) for story in stories)
    return [one for one in hidden if one][:count]


def hide_sentence(story: str) -> HiddenSentence | None:
    """The story with a sentence of 4 to 16 words hidden; `None` if none of its inner sentences is so long."""
    borders = list(_BORDER.finditer(story))
    inner = [(left.end(), right.start()) for left, right in pairwise(borders)]
    candidates = [(i, j) for i, j in inner if FEWEST_WORDS <= len(story[i:j].split()) <= MOST_WORDS]
    if not candidates:
        return None
    start, end = candidates[int(unit_hash("hidden" + story) * len(candidates))]
    return HiddenSentence(story[:start], story[start:end], story[end:])
