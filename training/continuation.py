"""Scores continuations of held-out beginnings: does the text end on its own, repeat itself, consist of real words?

The true continuations are scored too, and show what a good value is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.engine.models.base import FamilyModel
from training.bits import TextBaselines
from training.decoding import Decoding, Sampling, block_filling, decode_all, growing
from training.infilling import share
from training.objectives import Language
from training.prepare import Corpus

PROMPT_TOKENS = 16
MAX_NEW_TOKENS = 192
STARTING_MASKS = 32
"""The length of a block of LLaDA, and of a starting canvas of DreamOn."""
TEMPERATURE = 0.7
NUM_EXAMPLES = 3
LONGEST_CYCLE = 8
CYCLES_IN_A_ROW = 4
MOST_REPEATED_FOURGRAMS = 0.5


@dataclass(frozen=True, slots=True)
class Continuation:
    """A prompt, and the text that continues it."""

    prompt: str
    text: str
    ended: bool
    """Whether the text ended before the limit of new tokens."""


def score_continuation(
    model: FamilyModel,
    language: Language,
    heldout: Corpus,
    training_words: set[str],
    baselines: TextBaselines,
    count: int,
) -> dict[str, Any]:
    """The scores of the model's continuations and the true ones; sampled with the server's defaults (0.7, top-k 50)."""
    documents = beginnings(heldout, count)
    written = continuations(model, language, documents)
    true = [true_continuation(language, document) for document in documents]
    return {
        "continuations": len(documents),
        "prompt_tokens": PROMPT_TOKENS,
        "max_new_tokens": MAX_NEW_TOKENS,
        "temperature": TEMPERATURE,
        "decoding": "variable length" if language.special.expand is not None else "block by block",
        "model": text_scores(written, training_words, baselines),
        "true_text": text_scores(true, training_words, baselines),
        "examples": [{"prompt": one.prompt, "text": one.text} for one in written[:NUM_EXAMPLES]],
    }


def beginnings(heldout: Corpus, count: int) -> list[list[int]]:
    """The ids of held-out documents of more than twice the prompt's length, the same for every model."""
    order = np.random.default_rng(9).permutation(len(heldout))
    long_enough = [int(i) for i in order if len(heldout[int(i)]) > 2 * PROMPT_TOKENS]
    return [heldout[i].tolist() for i in long_enough[:count]]


def continuations(model: FamilyModel, language: Language, documents: list[list[int]]) -> list[Continuation]:
    """The model's continuations: LLaDA writes block by block; DreamOn begins with 32 masks and grows."""
    prompts = [document[:PROMPT_TOKENS] for document in documents]
    decoded = decode_all(model, [_decoding(language, prompt, seed) for seed, prompt in enumerate(prompts)])
    return [
        Continuation(language.decode(prompt), language.decode(one.text.ids), one.text.ended)
        for prompt, one in zip(prompts, decoded, strict=True)
    ]


def _decoding(language: Language, prompt: list[int], seed: int) -> Decoding:
    special = language.special
    # Each span or block of a text has a seed of its own, counted on from the text's.
    sampling = Sampling(TEMPERATURE, seed=seed * 2 * MAX_NEW_TOKENS)
    continue_text = block_filling if special.expand is None else growing
    return continue_text(language.beginning + prompt, MAX_NEW_TOKENS, STARTING_MASKS, special, sampling)


def true_continuation(language: Language, document: list[int]) -> Continuation:
    new = document[PROMPT_TOKENS : PROMPT_TOKENS + MAX_NEW_TOKENS]
    is_whole = len(document) < PROMPT_TOKENS + MAX_NEW_TOKENS
    return Continuation(language.decode(document[:PROMPT_TOKENS]), language.decode(new), is_whole)


def text_scores(texts: list[Continuation], training_words: set[str], baselines: TextBaselines) -> dict[str, float]:
    """The scores for the length, the variety and the plausibility of the texts.

    The Witten-Bell model judges plausibility without any network; a text that repeats itself costs it few bits, so the
    number says something only beside the share of degenerate texts.
    """
    written = [one.text for one in texts]
    words = [word for text in written for word in words_of(text)]
    return {
        **describe_texts(written),
        "ends_by_itself": share([one.ended for one in texts]),
        "words_seen_in_training": round(sum(word in training_words for word in words) / max(len(words), 1), 4),
        "witten_bell_bits_per_byte": baselines.bits_per_byte_of([one.prompt for one in texts], written),
    }


def describe_texts(texts: list[str]) -> dict[str, float]:
    """The scores that need no model: length in words, share of degenerate texts, variety."""
    return {
        "mean_words": round(sum(len(words_of(text)) for text in texts) / len(texts), 1),
        "without_words": share([not words_of(text) for text in texts]),
        "degenerate": share([is_degenerate(text) for text in texts]),
        **{f"distinct_{n}": distinct(texts, n) for n in (1, 2, 4)},
    }


def words_of(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


def distinct(texts: list[str], n: int) -> float:
    """The number of different runs of n words over that of all runs, averaged over texts; lower for longer texts."""
    ratios = []
    for text in texts:
        runs = _runs(words_of(text), n)
        if runs:
            ratios.append(len(set(runs)) / len(runs))
    return round(sum(ratios) / len(ratios), 4) if ratios else 0.0


def is_degenerate(text: str) -> bool:
    """Whether 1 to 8 words occur four times in a row, or more than half of the runs of 4 words are repetitions."""
    words = words_of(text)
    if any(_has_cycle(words, size) for size in range(1, LONGEST_CYCLE + 1)):
        return True
    runs = _runs(words, 4)
    return len(runs) > 0 and 1 - len(set(runs)) / len(runs) > MOST_REPEATED_FOURGRAMS


def _has_cycle(words: list[str], size: int) -> bool:
    """Whether a cycle of `size` words runs four times: each word equals the one `size` before it for three cycles."""
    in_a_row = 0
    for word, earlier in zip(words[size:], words, strict=False):
        in_a_row = in_a_row + 1 if word == earlier else 0
        if in_a_row == (CYCLES_IN_A_ROW - 1) * size:
            return True
    return False


def _runs(words: list[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
