from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from app.engine.device import devices
from app.engine.interface.config import Demand, EngineConfig
from app.engine.room import choice
from app.engine.room.choice import chosen, why
from app.engine.room.estimate import Estimate
from tests.unit.engine.checkpoints import LLADA_CONFIG

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
WIDE = {**LLADA_CONFIG, "d_model": 512, "mlp_hidden_size": 1024, "n_layers": 4}
PLENTY = 10**12
Form = tuple[torch.dtype, str]


@pytest.fixture(autouse=True)
def _large_is_a_million(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "LARGE_MODEL", 10**6)


@pytest.fixture
def _has_units(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (devices, choice):
        monkeypatch.setattr(module, "computes_bfloat16", lambda: request.param)


with_units = pytest.mark.parametrize("_has_units", [True], indirect=True)
without_units = pytest.mark.parametrize("_has_units", [False], indirect=True)


def estimate_of(raw: Mapping[str, Any] = WIDE, **config: Any) -> Estimate:
    demand = Demand(num_given=8, num_new=8)
    return Estimate("wide", raw, EngineConfig(**{"cpu_runtime": "torch", **config}), demand)


def form_of(estimate: Estimate, free_bytes: int | None = PLENTY, device: torch.device = CPU) -> Form:
    need = chosen(estimate, device, free_bytes).need(device, free_bytes)
    return need.dtype, need.quantization


def bytes_of(**config: Any) -> int:
    """The free memory in which a form of the large model just fits, with what is mapped."""
    need = estimate_of(**config).need(CPU)
    return need.least + need.weights.mapped


@pytest.mark.usefixtures("_has_units")
@with_units
def test_a_large_model_is_computed_in_bfloat16_where_a_cpu_has_units_for_it() -> None:
    assert form_of(estimate_of()) == form_of(estimate_of(), None) == (torch.bfloat16, "none")
    assert form_of(estimate_of(quantization="int8")) == (torch.bfloat16, "int8")
    assert form_of(estimate_of(dtype="float32")) == (torch.float32, "none")
    assert why(estimate_of(), CPU) == "11 million weights, on a CPU with units for bfloat16"


@pytest.mark.usefixtures("_has_units")
@without_units
def test_a_large_model_stays_in_float32_where_a_cpu_has_no_units_for_less() -> None:
    assert form_of(estimate_of()) == (torch.float32, "none")
    assert form_of(estimate_of(quantization="int8")) == (torch.float32, "int8")
    assert "without units" in why(estimate_of(), CPU)


@pytest.mark.usefixtures("_has_units")
@with_units
@pytest.mark.parametrize("free_bytes", [PLENTY, 10**6, 0])
def test_a_small_model_is_computed_as_it_was_trained_whatever_is_free(free_bytes: int) -> None:
    small = estimate_of(LLADA_CONFIG)
    assert form_of(small, free_bytes) == (torch.float32, "none")
    assert "are few" in why(small, CPU)


@pytest.mark.usefixtures("_has_units")
@with_units
def test_weights_become_int8_where_they_and_their_file_do_not_fit_otherwise() -> None:
    just = bytes_of(dtype="bfloat16", quantization="none")
    assert form_of(estimate_of(), just) == (torch.bfloat16, "none")
    assert form_of(estimate_of(), just - 1) == (torch.bfloat16, "int8")
    assert form_of(estimate_of(quantization="none"), just - 1) == (torch.bfloat16, "none")


@pytest.mark.usefixtures("_has_units")
@without_units
def test_what_is_not_quantised_is_halved_only_where_it_does_not_fit_otherwise() -> None:
    just = bytes_of(dtype="float32", quantization="int8")
    assert form_of(estimate_of(), just) == (torch.float32, "int8")
    assert form_of(estimate_of(), just - 1) == (torch.bfloat16, "int8")
    assert form_of(estimate_of(dtype="float32"), just - 1) == (torch.float32, "none")


@pytest.mark.usefixtures("_has_units")
@with_units
def test_where_nothing_fits_the_first_choice_stands() -> None:
    assert form_of(estimate_of(), 1000) == (torch.bfloat16, "none")


def test_a_gpu_computes_in_bfloat16_and_nothing_is_quantised() -> None:
    assert form_of(estimate_of(), 0, CUDA) == (torch.bfloat16, "none")
    assert why(estimate_of(), CUDA) == ""


def test_settings_that_leave_no_choice_need_no_reason() -> None:
    assert why(estimate_of(dtype="float32", quantization="none"), CPU) == ""
