"""Baselines that the models must beat: look-ups in the training texts, without any learning."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import numpy as np

from training.objectives import Sample
from training.prepare import Corpus

Integers = np.ndarray[Any, np.dtype[np.int64]]


class NeighbourLookup:
    """Predicts the token most often seen between two neighbours; else after the left one; else before the right one."""

    def __init__(self, corpus: Corpus, vocab_size: int) -> None:
        ids = corpus.ids.astype(np.int64)
        self.vocab_size = vocab_size
        self.most_frequent = int(np.bincount(ids).argmax())
        self.between = _most_frequent_by_key(ids[:-2] * vocab_size + ids[2:], ids[1:-1], vocab_size)
        self.after = _most_frequent_by_key(ids[:-1], ids[1:], vocab_size)
        self.before = _most_frequent_by_key(ids[1:], ids[:-1], vocab_size)

    def predict(self, left: int | None, right: int | None) -> int:
        """The most frequent token between the neighbours; `None` is a neighbour that is hidden too, or missing."""
        found = None
        if left is not None and right is not None:
            found = self.between.get(left * self.vocab_size + right)
        if found is None and left is not None:
            found = self.after.get(left)
        if found is None and right is not None:
            found = self.before.get(right)
        return self.most_frequent if found is None else found

    def accuracy(self, samples: list[Sample], mask: int) -> float:
        right = count = 0
        for sample in samples:
            shown = [None if token == mask else token for token in sample.ids] + [None]
            for answer in sample.answers:
                guess = self.predict(shown[answer.position - 1], shown[answer.position + 1])
                right, count = right + (guess == answer.token), count + 1
        return right / count


def _most_frequent_by_key(keys: Integers, tokens: Integers, vocab_size: int) -> dict[int, int]:
    pairs, counts = np.unique(keys * vocab_size + tokens, return_counts=True)
    order = np.argsort(counts, kind="stable")  # later entries overwrite: the most frequent one is written last
    return dict(zip((pairs[order] // vocab_size).tolist(), (pairs[order] % vocab_size).tolist(), strict=True))


class LineLookup:
    """Predicts the line most often seen between the same two lines; else after the same line; else anywhere."""

    def __init__(self, texts: list[str]) -> None:
        self.between: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        self.after: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.all: Counter[str] = Counter()
        for text in texts:
            lines = [*text.splitlines(), ""]
            for previous, line, following in zip(lines, lines[1:], lines[2:], strict=False):
                self.between[previous, following][line] += 1
                self.after[previous][line] += 1
                self.all[line] += 1

    def predict(self, previous: str, following: str) -> str:
        seen = self.between.get((previous, following)) or self.after.get(previous) or self.all
        return seen.most_common(1)[0][0]
