from __future__ import annotations

import lzma
import math
from itertools import combinations

import numpy as np
import pytest
import torch

from app.engine.models.base import FamilyModel
from tests.unit.training.conftest import TEXTS, tiny_recipe
from training.bits import (
    TextBaselines,
    chosen_documents,
    estimate_bound,
    hide_exactly,
    model_bits,
    spread_counts,
    weighed_losses,
    xz_size,
)
from training.initial import build
from training.objectives import Answer, Language, Sample
from training.prepare import Corpus

FAMILIES = ("llada", "dream")


def language_of(family: str, request: pytest.FixtureRequest) -> Language:
    language: Language = request.getfixturevalue("llada_language" if family == "llada" else "dreamon_language")
    return language


def opinionated(family: str, language: Language) -> FamilyModel:
    """Random weights, large enough that every token has a loss of its own."""
    torch.manual_seed(4)
    model = build(tiny_recipe(family, {}), language.tokenizer)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    return model


def exact_bound(model: FamilyModel, language: Language, document: list[int]) -> float:
    """The bound as the mean over every choice of hidden tokens, with equal weight for each number of them."""
    length, first = len(document), len(language.beginning)
    total = 0.0
    for count in range(1, length + 1):
        choices = list(combinations(range(length), count))
        for hidden in choices:
            ids = [*language.beginning, *document]
            for i in hidden:
                ids[first + i] = language.special.mask
            answers = [Answer(first + i, document[i], length / count) for i in hidden]
            total += float(weighed_losses(model, [Sample(ids, answers)])[0]) / len(choices) / length
    return total


@pytest.mark.parametrize("family", FAMILIES)
def test_the_mean_of_the_estimate_is_the_bound_and_its_error_is_right(
    family: str, request: pytest.FixtureRequest
) -> None:
    language = language_of(family, request)
    model, document = opinionated(family, language), language.encode("def")[:3] + language.encode(" = 7")[:2]
    exact = exact_bound(model, language, document)
    many = estimate_bound(model, language, [document] * 600)
    assert many.nats / 600 == pytest.approx(exact, abs=4 * many.error / 600)
    few = [estimate_bound(model, language, [document] * 20, seed=seed) for seed in range(30)]
    spread = float(np.std([estimate.nats for estimate in few], ddof=1))
    assert float(np.mean([estimate.error for estimate in few])) == pytest.approx(spread, rel=0.5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_uniform_model_pays_equally_for_every_token(family: str, request: pytest.FixtureRequest) -> None:
    language = language_of(family, request)
    model = build(tiny_recipe(family, {}), language.tokenizer)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    documents = [language.encode(text) for text in TEXTS[:5]]
    estimate = estimate_bound(model, language, documents)
    tokens = sum(map(len, documents))
    assert estimate.nats == pytest.approx(tokens * math.log(model.config.vocab_size), rel=1e-5)
    assert estimate.error < 1e-3
    scores = model_bits(model, language, documents)
    num_bytes = sum(len(text.encode()) for text in TEXTS[:5])
    assert scores["bytes"] == num_bytes
    assert scores["bits_per_byte"] == pytest.approx(tokens * math.log2(model.config.vocab_size) / num_bytes, abs=1e-3)


def test_batching_changes_no_loss(llada_language: Language) -> None:
    model, chance = opinionated("llada", llada_language), np.random.default_rng(2)
    documents = sorted((llada_language.encode(text) for text in TEXTS), key=len)
    samples = [hide_exactly(document, 1 + i % 9, llada_language, chance) for i, document in enumerate(documents)]
    alone = [float(weighed_losses(model, [sample])[0]) for sample in samples]
    assert weighed_losses(model, samples) == pytest.approx(alone, rel=1e-4)


def test_exactly_the_given_number_of_tokens_is_hidden_and_the_beginning_stays_visible(
    dreamon_language: Language,
) -> None:
    document = dreamon_language.encode(TEXTS[0])
    sample = hide_exactly(document, 4, dreamon_language, np.random.default_rng(0))
    assert sample.ids[0] == dreamon_language.special.bos
    assert sample.ids.count(dreamon_language.special.mask) == len(sample.answers) == 4
    assert all(answer.weight == len(document) / 4 for answer in sample.answers)


@pytest.mark.parametrize("length", [1, 3, 4, 10])
def test_every_number_of_hidden_tokens_is_equally_likely(length: int) -> None:
    chance = np.random.default_rng(0)
    counts = [count for _ in range(4000) for count in spread_counts(length, 4, chance)]
    shares = np.bincount(counts, minlength=length + 1)[1:] / len(counts)
    assert len(shares) == length
    assert shares == pytest.approx(np.full(length, 1 / length), abs=0.02)


def test_xz_finds_what_stands_far_back() -> None:
    chance = np.random.default_rng(0)
    once = chance.bytes(300_000)
    apart = once + chance.bytes(500_000)
    assert xz_size(apart + once) - xz_size(apart) < 5000
    assert lzma.decompress(lzma.compress(once)) == once
    assert xz_size(once) >= len(once)


def test_baselines_profit_from_the_training_text() -> None:
    scores = TextBaselines(TEXTS).scores([TEXTS[0]])
    assert scores["witten_bell"]["order"] == 5
    assert scores["witten_bell"]["bits_per_byte"] < 1
    assert scores["xz_given_training_text"] < scores["xz_alone"]


def test_the_bytes_of_prompts_are_not_counted() -> None:
    baselines = TextBaselines(TEXTS)
    text = TEXTS[3]
    costs = baselines.ngram.bits(text.encode())
    assert baselines.bits_per_byte_of([text[:20]], [text[20:]]) == pytest.approx(costs[20:].mean(), abs=1e-3)
    assert baselines.bits_per_byte_of(["def"], [""]) == 0.0


def test_the_same_documents_are_chosen_again(corpus: Corpus) -> None:
    chosen = chosen_documents(corpus, 5)
    assert len(chosen) == 5
    assert chosen == chosen_documents(corpus, 5)
    assert len(chosen_documents(corpus, 10_000)) == len(corpus)
