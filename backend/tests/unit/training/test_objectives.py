from __future__ import annotations

import numpy as np
import pytest
import torch

from app.engine.models.base import FamilyModel
from tests.unit.training.conftest import tiny_recipe
from training.initial import build
from training.objectives import (
    OBJECTIVES,
    Language,
    Sample,
    batch_loss,
    collate,
    merge,
    scattered,
    slot_answer,
    variable_gap,
)
from training.prepare import Corpus
from training.recipe import Stage
from training.train import draw_samples

FIXED_LENGTH = ("scattered", "gap", "tail")


def all_samples(name: str, corpus: Corpus, language: Language, count: int = 60) -> list[Sample]:
    chance = np.random.default_rng(0)
    return [OBJECTIVES[name](corpus[i % len(corpus)].tolist(), chance.random(), language, chance) for i in range(count)]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_mask_has_one_answer_and_nothing_else_has(name: str, corpus: Corpus, dreamon_language: Language) -> None:
    for sample in all_samples(name, corpus, dreamon_language):
        masked = [i for i, token in enumerate(sample.ids) if token == dreamon_language.special.mask]
        assert [answer.position for answer in sample.answers] == masked
        assert all(answer.weight > 0 for answer in sample.answers)
        assert all(answer.token != dreamon_language.special.mask for answer in sample.answers)


@pytest.mark.parametrize("name", FIXED_LENGTH)
def test_answers_put_in_place_give_the_text_back(name: str, corpus: Corpus, dreamon_language: Language) -> None:
    for index, sample in enumerate(all_samples(name, corpus, dreamon_language)):
        ids = list(sample.ids)
        for answer in sample.answers:
            ids[answer.position] = answer.token
        text = dreamon_language.tokenizer.decode(ids, skip_special_tokens=True)
        original = dreamon_language.decode(corpus[index % len(corpus)].tolist())
        assert original.startswith(text)
        assert name == "tail" or text == original


def test_the_beginning_is_never_hidden(corpus: Corpus, dreamon_language: Language) -> None:
    for name in OBJECTIVES:
        for sample in all_samples(name, corpus, dreamon_language):
            assert sample.ids[0] == dreamon_language.special.bos


def test_end_of_text_stands_behind_every_suffix_and_may_be_asked_for_in_a_continuation(
    corpus: Corpus, dreamon_language: Language
) -> None:
    eos = dreamon_language.special.eos
    assert all(sample.ids[-1] == eos for sample in all_samples("variable_gap", corpus, dreamon_language))
    asked = [eos in [answer.token for answer in s.answers] for s in all_samples("tail", corpus, dreamon_language)]
    assert True in asked
    assert False in asked


def decode_by_the_rules(middle: list[int], slots: list[tuple[int, int]], language: Language) -> list[int]:
    """DreamOn's decoding with a model that always answers as trained: expand splits a slot in two masks,
    delete removes it, a token fills it. What is left is the middle."""
    special = language.special
    open_slots, written = list(slots), []
    while open_slots:
        start, end = open_slots.pop(0)
        answer = slot_answer(middle, start, end, special)
        if answer == special.expand:
            open_slots[:0] = [(start, start + 1), (start + 1, end)]
        elif answer != special.eos:
            written.append(answer)
    return written


@pytest.mark.parametrize("num_deletes", [0, 1, 5])
@pytest.mark.parametrize("probability", [0.0, 0.4, 1.0])
def test_expand_and_delete_invert_the_augmentation(
    num_deletes: int, probability: float, dreamon_language: Language
) -> None:
    chance = np.random.default_rng(5)
    middle = list(range(12))
    for _ in range(20):
        hidden = (chance.random(len(middle)) < 0.8).tolist()
        slots = merge(hidden, num_deletes, probability, chance)
        assert decode_by_the_rules(middle, slots, dreamon_language) == middle


def test_merging_leaves_visible_tokens_and_later_deletes_alone() -> None:
    chance = np.random.default_rng(0)
    hidden = [True, True, False, True, True]
    slots = merge(hidden, 3, 1.0, chance)
    assert slots == [(0, 2), (2, 3), (3, 6), (6, 7), (7, 8)]


def test_merged_slots_leave_the_sequence(corpus: Corpus, dreamon_language: Language) -> None:
    """Positions of a variable sample are consecutive: what a merge swallowed takes no place."""
    samples = all_samples("variable_gap", corpus, dreamon_language)
    expand = dreamon_language.special.expand
    shortened = [s for s in samples if any(answer.token == expand for answer in s.answers)]
    assert shortened
    batch = collate(samples, shift=1)
    assert batch.positions.tolist() == [i for length in batch.lengths for i in range(length)]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_ends_of_text_of_a_sample_weigh_as_one_token(name: str, corpus: Corpus, dreamon_language: Language) -> None:
    for sample in all_samples(name, corpus, dreamon_language):
        deletes = [a.weight for a in sample.answers if a.token == dreamon_language.special.eos]
        others = [a.weight for a in sample.answers if a.token != dreamon_language.special.eos]
        if deletes and others:
            assert sum(deletes) == pytest.approx(others[0])


@pytest.mark.parametrize("shift", [0, 1])
def test_collated_rows_point_where_the_family_reads_its_predictions(
    shift: int, corpus: Corpus, dreamon_language: Language
) -> None:
    chance = np.random.default_rng(1)
    samples = [scattered(corpus[i].tolist(), 0.5, dreamon_language, chance) for i in range(5)]
    batch = collate(samples, shift)
    masked = batch.rows + shift
    assert (batch.ids[masked] == dreamon_language.special.mask).all()
    assert (batch.positions[masked] == batch.positions[batch.rows] + shift).all()
    assert int((batch.ids == dreamon_language.special.mask).sum()) == len(batch.targets)


def test_loss_of_a_batch_is_the_weighted_mean_of_its_samples(
    corpus: Corpus, dreamon_language: Language, tiny_dream: FamilyModel
) -> None:
    chance = np.random.default_rng(2)
    samples = [variable_gap(corpus[i].tolist(), 0.7, dreamon_language, chance) for i in range(6)]
    samples = [sample for sample in samples if sample.answers]
    alone = [collate([sample], 1) for sample in samples]
    total = sum(batch_loss(tiny_dream, batch) * batch.weights.sum() for batch in alone)
    mean = total / sum(batch.weights.sum() for batch in alone)
    torch.testing.assert_close(batch_loss(tiny_dream, collate(samples, 1)), mean)


def test_masking_ratios_of_a_batch_are_spread_evenly(corpus: Corpus, dreamon_language: Language) -> None:
    samples = draw_samples(corpus, dreamon_language, Stage(1.0, {"scattered": 1.0}), 2000, [0, 0])
    ratios = sorted(len(sample.answers) / (len(sample.ids) - 1) for sample in samples)
    evenly = np.linspace(0.02, 1, len(ratios))
    assert np.abs(np.array(ratios) - evenly).max() < 0.25


@pytest.fixture(scope="module")
def tiny_dream(dreamon_language: Language) -> FamilyModel:
    torch.manual_seed(0)
    return build(tiny_recipe("dream", {}), dreamon_language.tokenizer)
