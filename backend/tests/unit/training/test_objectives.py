from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from app.engine.models.base import FamilyModel
from tests.unit.training.conftest import language_for
from training import objectives
from training.batches import draw_samples
from training.objectives import (
    DELETE_WEIGHT,
    EXPAND_WEIGHT,
    MASKS_AHEAD,
    OBJECTIVES,
    Language,
    Sample,
    Slot,
    batch_loss,
    collate,
    scattered,
    slot_answer,
    stammered,
    tail_slots,
    variable_gap,
    variable_slots,
)
from training.prepare import Corpus
from training.recipe import Stage

FIXED_LENGTH = ("scattered", "gap", "lines", "tail")
VARIABLE = ("variable_gap", "variable_lines", "variable_tail", "stammering_variable_tail")
DREAMON = language_for("dream")


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


def test_end_of_text_follows_every_suffix_and_may_be_the_answer_in_a_continuation(
    corpus: Corpus, dreamon_language: Language
) -> None:
    eos = dreamon_language.special.eos
    assert all(sample.ids[-1] == eos for sample in all_samples("variable_gap", corpus, dreamon_language))
    asked = [eos in [answer.token for answer in s.answers] for s in all_samples("tail", corpus, dreamon_language)]
    assert True in asked
    assert False in asked


@given(prefix=st.lists(st.integers(0, 9), max_size=200), seed=st.integers(0, 999))
def test_a_stammer_writes_over_the_last_ids_with_those_before_them(prefix: list[int], seed: int) -> None:
    found = stammered(prefix, np.random.default_rng(seed))
    stammers = [
        prefix[: (end := len(prefix) - times * size)] + prefix[end - size : end] * times
        for times in (1, 2, 3)
        for size in range(2, 33)
        if (times + 1) * size <= len(prefix)
    ]
    assert found in (stammers if len(prefix) >= 4 * 32 else [prefix, *stammers])


def test_behind_a_stammer_the_text_goes_on_as_it_should(
    corpus: Corpus, dreamon_language: Language, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objectives, "stammered", lambda prefix, _: [7] * len(prefix))
    plain, stammering = (all_samples(f"{kind}variable_tail", corpus, dreamon_language) for kind in ("", "stammering_"))
    assert any(one.ids != other.ids for one, other in zip(plain, stammering, strict=True))
    for one, other in zip(plain, stammering, strict=True):
        asked = min((a.position for a in one.answers), default=len(one.ids))
        assert other.answers == one.answers
        assert other.ids[asked:] == one.ids[asked:]


def decode_by_the_rules(gap: list[int], slots: list[Slot], language: Language) -> list[int]:
    """DreamOn's decoding with a model that always answers as trained: expand splits a slot in two masks,
    delete removes it, a token fills it. What is left is the gap."""
    special = language.special
    open_slots, written = list(slots), []
    while open_slots:
        start, end, is_masked = open_slots.pop(0)
        answer = slot_answer(gap, start, end, special) if is_masked else gap[start]
        if answer == special.expand:
            open_slots[:0] = [(start, start + 1, True), (start + 1, end, True)]
        elif answer != special.eos:
            written.append(answer)
    return written


@given(size=st.integers(0, 150), t=st.floats(0, 1), seed=st.integers(0, 2**32))
def test_expand_and_delete_invert_the_augmentation(size: int, t: float, seed: int) -> None:
    gap = list(range(size))
    slots = variable_slots(gap, t, np.random.default_rng(seed))
    assert decode_by_the_rules(gap, slots, DREAMON) == gap


@given(size=st.integers(0, 150), t=st.floats(0, 1), seed=st.integers(0, 2**32))
def test_a_continuation_expands_to_the_rest_of_the_text_unless_it_has_enough_masks(
    size: int, t: float, seed: int
) -> None:
    rest = list(range(size))
    slots = tail_slots(rest, t, np.random.default_rng(seed))
    written = decode_by_the_rules(rest, slots, DREAMON)
    assert written == rest[: len(written)]
    masked = [is_masked for _, _, is_masked in slots]
    assert written == rest or all(masked[-MASKS_AHEAD - 1 :])


@given(size=st.integers(1, 60), t=st.floats(0, 1), seed=st.integers(0, 2**32))
def test_only_the_last_mask_of_a_run_of_text_asks_for_room(size: int, t: float, seed: int) -> None:
    """The masks before it stand for the token that plain masking would ask for at their place."""
    slots = variable_slots(list(range(size)), t, np.random.default_rng(seed))
    for (start, end, _), (_, _, next_is_masked) in pairwise(slots):
        if end - start > 1:
            assert not next_is_masked


@given(size=st.integers(0, 150), t=st.floats(0, 1), seed=st.integers(0, 2**32))
def test_only_masks_stand_for_nothing_or_for_several_tokens(size: int, t: float, seed: int) -> None:
    for start, end, is_masked in variable_slots(list(range(size)), t, np.random.default_rng(seed)):
        assert is_masked or end - start == 1
        assert start < size or (start, end) == (size, size + 1)


def test_a_hidden_gap_is_trained_with_too_few_enough_and_too_many_masks() -> None:
    chance = np.random.default_rng(0)
    sizes = {len(variable_slots(list(range(12)), 1.0, chance)) for _ in range(300)}
    assert min(sizes) < 3
    assert 12 in sizes
    assert max(sizes) > 20


def test_tokens_that_an_expand_stands_for_are_not_in_the_sequence(corpus: Corpus, dreamon_language: Language) -> None:
    """Positions of a variable sample are consecutive: tokens that an expand stands for take no place."""
    samples = all_samples("variable_gap", corpus, dreamon_language)
    expand = dreamon_language.special.expand
    shortened = [s for s in samples if any(answer.token == expand for answer in s.answers)]
    assert shortened
    batch = collate(samples, shift=1)
    assert batch.positions.tolist() == [i for length in batch.lengths for i in range(length)]


@pytest.mark.parametrize("name", ["scattered", "gap", "tail"])
def test_ends_of_text_of_a_plain_sample_weigh_as_one_token(
    name: str, corpus: Corpus, dreamon_language: Language
) -> None:
    for sample in all_samples(name, corpus, dreamon_language):
        ends = [a.weight for a in sample.answers if a.token == dreamon_language.special.eos]
        others = [a.weight for a in sample.answers if a.token != dreamon_language.special.eos]
        if ends and others:
            assert sum(ends) == pytest.approx(others[0])


@pytest.mark.parametrize("name", VARIABLE)
def test_deletes_and_expands_weigh_less_than_tokens(name: str, corpus: Corpus, dreamon_language: Language) -> None:
    special = dreamon_language.special
    factors = {special.eos: DELETE_WEIGHT, special.expand: EXPAND_WEIGHT}
    answered: set[int | None] = set()
    for sample in all_samples(name, corpus, dreamon_language):
        bases = [answer.weight / factors.get(answer.token, 1.0) for answer in sample.answers]
        assert bases == pytest.approx([bases[0]] * len(bases) if bases else [])
        answered |= {answer.token for answer in sample.answers}
    assert {special.eos, special.expand} <= answered


@pytest.mark.parametrize("name", ["lines", "variable_lines"])
def test_several_whole_lines_are_hidden_at_once_and_never_the_first(
    name: str, corpus: Corpus, dreamon_language: Language
) -> None:
    mask = dreamon_language.special.mask
    [newline] = dreamon_language.encode("\n")
    for sample in all_samples(name, corpus, dreamon_language):
        first = sample.ids.index(newline)
        assert mask not in sample.ids[:first]
        assert newline not in [answer.token for answer in sample.answers]
    runs = [np.diff([i for i, token in enumerate(s.ids) if token == mask]) for s in all_samples(name, corpus, DREAMON)]
    assert any((gaps > 1).any() for gaps in runs)


def test_a_text_of_one_line_is_cut_at_words(dreamon_language: Language) -> None:
    document = dreamon_language.encode("return value + 1")
    sample = OBJECTIVES["lines"](document, 1.0, dreamon_language, np.random.default_rng(0))
    assert sample.answers


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
