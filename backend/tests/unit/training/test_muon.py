from __future__ import annotations

import pytest
import torch

from training.muon import Muon, orthogonalise


@pytest.mark.parametrize("shape", [(24, 24), (16, 40), (40, 16)])
def test_singular_values_come_close_to_one(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    singular_values = torch.linalg.svdvals(orthogonalise(torch.randn(shape)))
    assert singular_values.min() > 0.3
    assert singular_values.max() < 1.3


def test_the_update_has_the_size_of_an_adam_step_whatever_the_gradient() -> None:
    torch.manual_seed(0)
    for scale in (1e-6, 1.0, 1e6):
        parameter = torch.nn.Parameter(torch.zeros(48, 96))
        parameter.grad = scale * torch.randn(48, 96)
        Muon([parameter], lr=0.1).step()
        assert float(parameter.detach().square().mean().sqrt()) == pytest.approx(0.2 * 0.1, rel=0.3)


def test_a_linear_map_is_learned() -> None:
    torch.manual_seed(0)
    wanted, inputs = torch.randn(8, 8), torch.randn(64, 8)
    layer = torch.nn.Linear(8, 8, bias=False)
    muon = Muon(layer.parameters(), lr=0.3)
    losses = []
    for _ in range(60):
        loss = (layer(inputs) - inputs @ wanted.T).square().mean()
        loss.backward()
        muon.step()
        muon.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.1 * losses[0]


def test_weight_decay_shrinks_what_has_no_gradient_direction() -> None:
    parameter = torch.nn.Parameter(torch.ones(4, 4))
    parameter.grad = torch.zeros(4, 4)
    Muon([parameter], lr=0.5, weight_decay=0.1).step()
    torch.testing.assert_close(parameter.detach(), torch.full((4, 4), 0.95))
