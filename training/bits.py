"""Bits per byte of held-out documents, comparable across tokenizers, models and compressors.

For a masked diffusion model it is the Monte-Carlo estimate of an upper bound. Hide exactly l of a document's L tokens,
l uniform in 1..L: L / l times the sum of the cross-entropies at the hidden tokens is an unbiased estimate of the bound
on -log p(document | its length) (LLaDA, arXiv 2502.09992, equation 6 and algorithm 3). The number leaves out the
document's length in tokens, which the model is given for free. Nothing is removed from the softmax, so that a model
pays for the probability that it gives to special tokens.
"""

from __future__ import annotations

import lzma
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from app.engine.models.base import FamilyModel
from training.ngram import ByteNgram
from training.objectives import Answer, Language, Sample, collate
from training.prepare import Corpus

ROUNDS = 2
"""The number of independent estimates of each document; their difference gives the Monte-Carlo error."""
DRAWS_PER_ROUND = 4
SAMPLES_PER_BATCH = 32
NATS_PER_BIT = float(np.log(2))

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Estimate:
    """The bound of a whole corpus in nats; its standard error is that of the draws, not of the choice of documents."""

    nats: float
    error: float


def estimate_bound(
    model: FamilyModel,
    language: Language,
    documents: list[list[int]],
    rounds: int = ROUNDS,
    draws: int = DRAWS_PER_ROUND,
    seed: int = 5,
) -> Estimate:
    """The sum over `documents` of the bound on -log p(document | its length)."""
    chance = np.random.default_rng(seed)
    # Sorted by length as in `collate`, which therefore keeps the order: each loss can be matched to its document.
    ordered = sorted((document for document in documents if document), key=len)
    samples = [
        hide_exactly(document, count, language, chance)
        for document in ordered
        for _ in range(rounds)
        for count in spread_counts(len(document), draws, chance)
    ]
    losses = weighed_losses(model, samples).reshape(len(ordered), rounds, draws).mean(2)
    variance = losses.var(1, ddof=1) / rounds
    return Estimate(float(losses.mean(1).sum()), float(np.sqrt(variance.sum())))


def spread_counts(length: int, draws: int, chance: np.random.Generator) -> list[int]:
    """The number of tokens to hide in each draw, spread evenly over 1..length from a random start."""
    start = chance.random()
    return [min(int(length * (i + start) / draws) + 1, length) for i in range(draws)]


def hide_exactly(document: list[int], count: int, language: Language, chance: np.random.Generator) -> Sample:
    """The document with `count` tokens hidden at random positions; each answer has the weight L / l.

    The beginning-of-text token stays visible.
    """
    first = len(language.beginning)
    ids = [*language.beginning, *document]
    hidden = sorted(chance.choice(len(document), count, replace=False).tolist())
    for i in hidden:
        ids[first + i] = language.special.mask
    return Sample(ids, [Answer(first + i, document[i], len(document) / count) for i in hidden])


@torch.inference_mode()
def weighed_losses(model: FamilyModel, samples: list[Sample]) -> Floats:
    """The sum of weight · cross-entropy (nats) of each sample, [len(samples)]; samples must be sorted by length."""
    sums: list[float] = []
    for start in range(0, len(samples), SAMPLES_PER_BATCH):
        chosen = samples[start : start + SAMPLES_PER_BATCH]
        batch = collate(chosen, model.config.prediction_shift)
        states = model.hidden(batch.ids, batch.positions, batch.lengths)
        losses = F.cross_entropy(model.head(states[batch.rows]).float(), batch.targets, reduction="none")
        weighed = (losses * batch.weights).double()
        sums += [float(part.sum()) for part in torch.split(weighed, [len(sample.answers) for sample in chosen])]
    return np.array(sums)


def model_bits(model: FamilyModel, language: Language, documents: list[list[int]]) -> dict[str, Any]:
    """The bits per byte of the model, with the Monte-Carlo standard error and the counts behind it."""
    estimate = estimate_bound(model, language, documents)
    num_bytes = sum(len(language.decode(document).encode()) for document in documents)
    return {
        "documents": len(documents),
        "tokens": sum(map(len, documents)),
        "bytes": num_bytes,
        "draws_per_document": ROUNDS * DRAWS_PER_ROUND,
        "bits_per_byte": round(estimate.nats / NATS_PER_BIT / num_bytes, 4),
        "monte_carlo_error": round(estimate.error / NATS_PER_BIT / num_bytes, 4),
        "not_counted": "the document's length in tokens, which the model is told",
    }


class TextBaselines:
    """The baselines xz and an order-5 Witten-Bell model, which know the same training text as the model."""

    def __init__(self, training_texts: list[str]) -> None:
        documents = [text.encode() for text in training_texts]
        self.ngram = ByteNgram(documents)
        self._training = b"".join(documents)

    @cached_property
    def _training_size(self) -> int:
        return xz_size(self._training)

    def scores(self, texts: list[str]) -> dict[str, Any]:
        """The bits per byte of the held-out documents under each baseline."""
        documents = [text.encode() for text in texts]
        joined = b"".join(documents)
        given_training = xz_size(self._training + joined) - self._training_size
        ngram_bits = sum(float(self.ngram.bits(document).sum()) for document in documents)
        return {
            "training_bytes": len(self._training),
            "xz_alone": round(8 * xz_size(joined) / len(joined), 4),
            "xz_given_training_text": round(8 * given_training / len(joined), 4),
            "witten_bell": {
                "order": self.ngram.order,
                "bits_per_byte": round(ngram_bits / len(joined), 4),
                "documents": "each scored on its own, from a context of zero bytes that are not counted",
            },
        }

    def bits_per_byte_of(self, prompts: list[str], texts: list[str]) -> float:
        """The Witten-Bell bits per byte of texts, each behind its prompt; the bytes of the prompts are not counted."""
        bits = num_bytes = 0.0
        for prompt, text in zip(prompts, texts, strict=True):
            start = len(prompt.encode())
            costs = self.ngram.bits((prompt + text).encode())[start:]
            bits, num_bytes = bits + float(costs.sum()), num_bytes + len(costs)
        return round(bits / num_bytes, 4) if num_bytes else 0.0


def xz_size(data: bytes) -> int:
    """The number of bytes of `data` as compressed by xz, preset 9 extreme, with a dictionary as long as the data."""
    dictionary = max(len(data), 64 << 20)
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": dictionary}]
    return len(lzma.compress(data, lzma.FORMAT_XZ, filters=filters))


def chosen_documents(corpus: Corpus, count: int) -> list[list[int]]:
    """The first `count` documents of a fixed order, the same for every model and baseline."""
    order = np.random.default_rng(0).permutation(len(corpus))
    return [corpus[int(i)].tolist() for i in sorted(order[:count])]
