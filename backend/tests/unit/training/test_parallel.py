from __future__ import annotations

import numpy as np
import pytest
import torch

from app.engine.models.base import FamilyModel
from training.objectives import Language, Sample, batch_loss, collate, scattered
from training.parallel import Gradients, split
from training.prepare import Corpus


@pytest.fixture
def samples(corpus: Corpus, dreamon_language: Language) -> list[Sample]:
    chance = np.random.default_rng(0)
    return [scattered(corpus[i].tolist(), 0.5, dreamon_language, chance) for i in range(9)]


@pytest.mark.parametrize("num_parts", [1, 2, 3, 20])
def test_a_batch_is_split_between_sequences_and_nothing_is_lost(num_parts: int, samples: list[Sample]) -> None:
    batch = collate(samples, shift=1)
    parts = split(batch, num_parts)
    assert len(parts) == min(num_parts, len(samples))
    assert [length for part in parts for length in part.lengths] == batch.lengths
    assert torch.equal(torch.cat([part.ids for part in parts]), batch.ids)
    assert torch.equal(torch.cat([part.targets for part in parts]).sort().values, batch.targets.sort().values)
    for part in parts:
        assert len(part.ids) == sum(part.lengths)
        assert int(part.rows.max()) < len(part.ids)


@pytest.mark.parametrize("num_threads", [1, 2, 3])
def test_the_gradient_of_the_parts_is_that_of_the_whole(
    num_threads: int, samples: list[Sample], tiny_dream: FamilyModel
) -> None:
    batch = collate(samples, tiny_dream.config.prediction_shift)
    expected = torch.autograd.grad(batch_loss(tiny_dream, batch), list(tiny_dream.parameters()))
    gradients = Gradients(tiny_dream, num_threads=num_threads)
    loss = gradients.compute(batch)
    gradients.close()
    assert loss == pytest.approx(float(batch_loss(tiny_dream, batch).detach()), rel=1e-5)
    for parameter, gradient in zip(tiny_dream.parameters(), expected, strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-5)
