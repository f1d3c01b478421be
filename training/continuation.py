"""Continuation of held-out beginnings: does the text end by itself, does it repeat itself, are its words words?"""

from __future__ import annotations

import re
from typing import Any

from app.engine.models.base import FamilyModel
from training.decoding import Sampling, fill_blocks
from training.objectives import Language
from training.prepare import Corpus

PROMPT_TOKENS = 16
MAX_NEW_TOKENS = 192
BLOCK = 32


def score_continuation(
    model: FamilyModel, language: Language, heldout: Corpus, training_words: set[str], count: int
) -> dict[str, Any]:
    """Sampled at temperature 0.7 and top-k 50, the server's defaults, block by block."""
    long_enough = [i for i in range(len(heldout)) if len(heldout[i]) > 2 * PROMPT_TOKENS][:count]
    texts, ended = [], 0
    for index in long_enough:
        prompt = language.beginning + heldout[index][:PROMPT_TOKENS].tolist()
        ids = fill_blocks(model, prompt, MAX_NEW_TOKENS, BLOCK, Sampling(0.7, seed=index))
        ended += len(ids) < MAX_NEW_TOKENS
        texts.append(language.decode(ids))
    words = [word for text in texts for word in words_of(text)]
    return {
        "continuations": len(texts),
        "mean_words": round(len(words) / len(texts), 1),
        "ends_by_itself": round(ended / len(texts), 4),
        "words_seen_in_training": round(sum(word in training_words for word in words) / max(len(words), 1), 4),
        "distinct_1": distinct(texts, 1),
        "distinct_4": distinct(texts, 4),
        "examples": texts[:3],
    }


def words_of(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


def distinct(texts: list[str], n: int) -> float:
    """Different runs of n words over all runs, within each text, averaged."""
    ratios = []
    for text in texts:
        words = words_of(text)
        runs = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
        if runs:
            ratios.append(len(set(runs)) / len(runs))
    return round(sum(ratios) / len(ratios), 4) if ratios else 0.0
