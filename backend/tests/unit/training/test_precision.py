from __future__ import annotations

import pytest
import torch
from torch import nn

from training import precision
from training.precision import bf16_computation, is_bf16_worthwhile

CPU = torch.device("cpu")


@pytest.mark.parametrize(("float32", "bfloat16", "expected"), [(1.0, 0.4, True), (1.0, 0.9, False), (1.0, 30.0, False)])
def test_a_cpu_computes_in_bf16_only_where_that_is_much_faster(
    float32: float, bfloat16: float, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = {torch.float32: float32, torch.bfloat16: bfloat16}
    monkeypatch.setattr(precision, "_product_seconds", seconds.__getitem__)
    assert is_bf16_worthwhile(CPU) is expected


def test_the_choice_is_measured_on_this_machine() -> None:
    assert is_bf16_worthwhile(CPU) in (True, False)
    assert precision._product_seconds(torch.float32) > 0


def test_products_are_computed_in_bf16_and_weights_stay_float32() -> None:
    layer = nn.Linear(8, 8)
    with bf16_computation(CPU, enabled=True):
        states = layer(torch.randn(3, 8))
    assert states.dtype == torch.bfloat16
    states.sum().backward()
    assert layer.weight.dtype == torch.float32
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype == torch.float32


def test_nothing_changes_where_it_is_off() -> None:
    with bf16_computation(CPU, enabled=False):
        assert nn.Linear(8, 8)(torch.randn(3, 8)).dtype == torch.float32
