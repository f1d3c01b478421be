from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from app.engine.canvas.masking import MaskedSample, draw_samples
from app.engine.likelihood import cross_entropies, log_likelihood, round_loss
from app.engine.passes.runner import ModelRunner

lengths = st.integers(1, 20)
seeds = st.integers(0, 2**32)


@given(st.integers(0, 9), lengths, st.integers(1, 16), seeds)
def test_samples_mask_different_positions_of_the_answer_only(
    prompt_length: int, answer_length: int, num_samples: int, seed: int
) -> None:
    samples = draw_samples(prompt_length, answer_length, num_samples, np.random.default_rng(seed))
    assert len(samples) == num_samples
    for sample in samples:
        assert 1 <= len(sample.masked) == len(set(sample.masked)) <= answer_length
        assert all(prompt_length <= index < prompt_length + answer_length for index in sample.masked)
        assert sample.share == len(sample.masked) / answer_length


@given(lengths, seeds)
def test_samples_as_many_as_tokens_have_every_number_of_masks_once(answer_length: int, seed: int) -> None:
    samples = draw_samples(3, answer_length, answer_length, np.random.default_rng(seed))
    assert sorted(len(sample.masked) for sample in samples) == list(range(1, answer_length + 1))


@given(lengths, st.integers(1, 16), seeds)
def test_the_numbers_of_masks_are_spread_evenly(answer_length: int, num_samples: int, seed: int) -> None:
    counts = [len(s.masked) for s in draw_samples(0, answer_length, num_samples, np.random.default_rng(seed))]
    for index, count in enumerate(counts):
        distance = (count - counts[0] - index * answer_length / num_samples) % answer_length
        assert min(distance, answer_length - distance) <= 0.5 + 1e-9


def test_the_first_number_of_masks_is_uniform() -> None:
    rng = np.random.default_rng(0)
    seen = Counter(len(draw_samples(0, 5, 1, rng)[0].masked) for _ in range(5000))
    # Four degrees of freedom: 23.5 is exceeded once in ten thousand seeds, and the seed is fixed.
    assert sum((seen[count] - 1000) ** 2 / 1000 for count in range(1, 6)) < 23.5


def test_one_token_leaves_nothing_to_chance() -> None:
    assert draw_samples(4, 1, 3, np.random.default_rng(0)) == [MaskedSample((4,), 1.0)] * 3


def test_a_round_weighs_each_sample_by_its_share() -> None:
    samples = [MaskedSample((0,), 0.25), MaskedSample((0, 1), 0.5)]
    assert round_loss(samples, [[1.0], [2.0, 3.0]]) == (1 / 0.25 + 5 / 0.5) / 2


@pytest.mark.parametrize("cfg_scale", [0.0, 1.5])
def test_one_token_has_the_likelihood_that_one_pass_gives_it(cfg_scale: float, llada: ModelRunner) -> None:
    prompt, answer, mask = [5, 6, 7], 9, llada.model.config.special.mask
    with torch.inference_mode():
        seen, blind = (
            llada.model.head(llada.model.hidden(torch.tensor(ids), torch.arange(4), [4]))[3]
            for ids in ([*prompt, mask], [mask] * 4)
        )
    expected = (blind + (cfg_scale + 1) * (seen - blind)).log_softmax(-1)[answer]
    actual = log_likelihood(llada, prompt, [answer], [[MaskedSample((3,), 1.0)]], cfg_scale)
    assert actual == pytest.approx(float(expected), abs=1e-4)


def test_entropies_stand_sample_by_sample(llada: ModelRunner) -> None:
    samples = [MaskedSample((2, 4), 0.5), MaskedSample((3,), 0.25)]
    together = cross_entropies(llada, [5, 6], [7, 8, 9, 10], samples)
    assert [len(row) for row in together] == [2, 1]
    assert together == [cross_entropies(llada, [5, 6], [7, 8, 9, 10], [sample])[0] for sample in samples]
