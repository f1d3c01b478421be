from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from app.engine.families.checkpoint import load_model
from app.engine.interface.config import Demand, EngineConfig, RuntimeName
from app.engine.interface.params import DecodingParams, GenerationRequest
from app.engine.passes.graph_forward import GraphForward
from app.engine.passes.runner import ModelRunner
from app.engine.request.state import RequestState
from app.engine.room.estimate import Estimate, MemoryNeed
from tests.unit.engine.checkpoints import CHECKPOINTS, DREAM_CONFIG, LLADA_CONFIG

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def need_of(demand: Demand = Demand(), device: torch.device = CPU, **config: Any) -> MemoryNeed:  # noqa: B008 - immutable
    return Estimate("tiny", LLADA_CONFIG, EngineConfig(**config), demand).need(device)


@pytest.mark.parametrize("runtime", ["auto", "torch"])
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_what_is_estimated_is_what_the_loaded_model_reckons_with(name: str, runtime: RuntimeName) -> None:
    folder = CHECKPOINTS[name]
    need = Estimate.of(folder, EngineConfig(cpu_runtime=runtime), Demand(num_given=9, num_new=7)).need(CPU)
    runner = ModelRunner(load_model(folder, CPU, torch.float32), cpu_runtime=runtime)
    request = GenerationRequest("r", (0,) * 9, (), DecodingParams(7))
    asked = RequestState(request, runner.model.config, lambda event: None).need
    if isinstance(runner._forward, GraphForward):
        runner._forward._graph(reads_cache=True)  # built when a request first reads a cache
    assert need.weights.all == runner.memory_bytes
    assert need.one.logits + need.one.states == runner.footprint.of_pass(asked.num_tokens, asked.num_rows)
    assert need.one.cache == runner.footprint.cached(asked.max_cached, asked.max_distributions)


def test_keys_and_values_are_counted_where_requests_cache_them() -> None:
    assert need_of(Demand(num_given=8, num_new=8)).one.cache == 0
    assert need_of(Demand(num_given=8, num_new=8, is_cached=True)).one.cache > 0


@given(num_requests=st.integers(1, 9), num_given=st.integers(0, 40), num_new=st.integers(1, 40))
def test_a_batch_takes_at_least_what_one_request_takes(num_requests: int, num_given: int, num_new: int) -> None:
    need = need_of(Demand(num_requests, num_given, num_new))
    assert 1 <= need.num_together <= num_requests
    assert need.one.all <= need.batch.all
    assert need.batch.logits == need.num_together * need.one.logits
    assert need.least <= need.full + need.weights.loading


def test_admission_bounds_the_batch() -> None:
    demand = Demand(num_requests=5, num_given=4, num_new=4)
    row_bytes = need_of(demand).one.logits // 4
    assert need_of(demand).num_together == 5
    assert need_of(demand, max_running=3).num_together == 3
    assert need_of(demand, max_batch_tokens=16).num_together == 2
    assert need_of(demand, max_logits_bytes=8 * row_bytes).num_together == 2
    assert need_of(demand, max_logits_bytes=1).num_together == 1


def test_a_gpu_with_much_room_lets_more_requests_together() -> None:
    demand = Demand(num_requests=64, num_given=4, num_new=4)
    estimate = Estimate("tiny", LLADA_CONFIG, EngineConfig(max_logits_bytes=1), demand)
    assert estimate.need(CUDA).num_together == 1
    assert estimate.need(CUDA, 10**9).num_together == 64
    assert estimate.need(CPU, 10**9).num_together == 1


def test_a_request_is_no_longer_than_the_context() -> None:
    assert need_of(Demand(num_given=5000, num_new=5000)).one == need_of(Demand(num_given=32, num_new=32)).one


def test_the_change_of_a_setting_leaves_the_other_estimate_as_it_was() -> None:
    estimate = Estimate("tiny", DREAM_CONFIG, EngineConfig(cpu_runtime="torch"), Demand())
    smaller = estimate.changed(dtype="bfloat16")
    assert smaller.need(CUDA) == estimate.need(CUDA)
    assert 2 * smaller.need(CPU).weights.all == estimate.need(CPU).weights.all
    assert estimate.config.dtype == "auto"
