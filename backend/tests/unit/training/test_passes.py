from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from app.engine.models.base import FamilyModel
from training.objectives import Answer, Batch, Language, Sample, collate, scattered
from training.passes import Bf16Pass, Pass, PlainPass
from training.prepare import Corpus


@pytest.fixture(params=["tiny_dream", "tiny_llada"])
def model(request: pytest.FixtureRequest) -> FamilyModel:
    network: FamilyModel = request.getfixturevalue(request.param)
    return network


@pytest.fixture
def batch(corpus: Corpus, dreamon_language: Language, llada_language: Language, model: FamilyModel) -> Batch:
    chance = np.random.default_rng(0)
    language = dreamon_language if model.config.prediction_shift else llada_language
    samples = [scattered(corpus[i].tolist(), 0.5, language, chance) for i in range(9)]
    return collate(samples, model.config.prediction_shift)


def gradient(step: Pass, batch: Batch) -> tuple[float, list[Tensor]]:
    loss, own = step.part(batch, batch.weights.sum())
    return float(loss), list(step.finish(own))


def test_bf16_operations_give_the_gradient_of_the_network(model: FamilyModel, batch: Batch) -> None:
    expected_loss, expected = gradient(PlainPass(model), batch)
    loss, own = gradient(Bf16Pass(model), batch)
    assert loss == pytest.approx(expected_loss, rel=2e-3)
    for (name, _), mine, theirs in zip(model.named_parameters(), own, expected, strict=True):
        assert mine.dtype == torch.float32
        assert (mine - theirs).norm() < 0.06 * theirs.norm(), name


def test_a_sample_with_surplus_masks_may_be_longer_than_the_models_context(tiny_dream: FamilyModel) -> None:
    length = tiny_dream.config.context_length + 9
    sample = Sample([*range(length - 1), tiny_dream.config.special.mask], [Answer(length - 1, 7, 1.0)])
    expected, loss = (gradient(step, collate([sample], 1))[0] for step in (PlainPass(tiny_dream), Bf16Pass(tiny_dream)))
    assert loss == pytest.approx(expected, rel=2e-3)


def test_a_pass_leaves_the_parameters_as_they_are(model: FamilyModel, batch: Batch) -> None:
    before = [parameter.detach().clone() for parameter in model.parameters()]
    gradient(Bf16Pass(model), batch)
    assert all(torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))
