from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from app.engine.decoding.block import BlockSampler
from app.engine.engine import Engine
from app.engine.interface.config import EngineConfig
from app.engine.interface.errors import EngineStopped, QueueFull
from app.engine.interface.events import Admitted, Cancelled, EngineEvent, Failed, Finished, Step
from app.engine.interface.params import DecodingParams, GenerationRequest
from app.engine.passes.runner import ModelRunner
from app.engine.request.state import RequestState
from tests.conformance import traces
from tests.unit.engine.checkpoints import BY_MODULES, CHECKPOINTS
from tests.unit.engine.mixture import mixed_requests

Events = dict[str, list[EngineEvent]]
checkpoints = pytest.mark.parametrize("name", [*CHECKPOINTS, *BY_MODULES])


def request_of(request_id: str, max_new_tokens: int = 4, **changes: Any) -> GenerationRequest:
    return GenerationRequest(request_id, (5, 6), (), DecodingParams(max_new_tokens, **changes), open_ended=True)


def state_of(runner: ModelRunner, request: GenerationRequest, events: Events) -> RequestState:
    return RequestState(request, runner.model.config, events.setdefault(request.request_id, []).append)


def engine_with(runner: ModelRunner, requests: Sequence[GenerationRequest], **config: Any) -> tuple[Engine, Events]:
    engine, events = Engine(runner, EngineConfig(**config)), Events()
    for request in requests:
        engine.add(state_of(runner, request, events))
    return engine, events


def run_to_end(engine: Engine) -> None:
    while engine.has_work:
        engine.step()


def kinds(events: Sequence[EngineEvent]) -> list[str]:
    return [type(event).__name__ for event in events if not isinstance(event, Step)]


# -- company ----------------------------------------------------------------------------------------------------------


@checkpoints
def test_a_request_gets_the_same_events_alone_and_in_any_batch(name: str, runners: Mapping[str, ModelRunner]) -> None:
    runner = runners[name]
    requests = mixed_requests(runner.model.config, seed=7, count=10)
    alone = {
        r.request_id: t.events for r, t in zip(requests, traces.run(runner, requests, together=False), strict=True)
    }

    engine, together = engine_with(runner, requests)
    run_to_end(engine)
    assert together == alone
    assert arriving_between_steps(runner, requests, random.Random(1)) == alone


def arriving_between_steps(runner: ModelRunner, requests: Sequence[GenerationRequest], rng: random.Random) -> Events:
    """The requests in another order, in a batch with few places, some of them while others run."""
    engine, events = engine_with(runner, (), max_running=4)
    to_come = rng.sample(requests, len(requests))
    while to_come or engine.has_work:
        if to_come and rng.random() < 0.6:
            engine.add(state_of(runner, to_come.pop(), events))
        engine.step()
    return events


def test_models_of_four_families_side_by_side_give_each_request_what_it_gets_alone(
    runners: Mapping[str, ModelRunner],
) -> None:
    """Requests of the same names in each, and the engines take turns."""
    names = ("llada-tiny", "dream-tiny", "dreamon-tiny", "sdar-tiny")
    requests = {name: mixed_requests(runners[name].model.config, seed=13, count=4) for name in names}
    alone = {}
    for name in names:
        engine, alone[name] = engine_with(runners[name], requests[name])
        run_to_end(engine)
    side_by_side = {name: engine_with(runners[name], requests[name]) for name in names}
    while any(engine.has_work for engine, _ in side_by_side.values()):
        for engine, _ in side_by_side.values():
            engine.step()
    assert {name: events for name, (_, events) in side_by_side.items()} == alone


def test_cancelling_others_of_a_batch_changes_nothing(llada: ModelRunner) -> None:
    requests = mixed_requests(llada.model.config, seed=3, count=6)
    alone = traces.run(llada, requests[:1], together=True)[0].events
    engine, events = engine_with(llada, requests)
    for request in requests[1:]:
        engine.step()
        engine.abort(request.request_id)
    run_to_end(engine)
    assert events[requests[0].request_id] == alone


# -- a request's life -------------------------------------------------------------------------------------------------


@checkpoints
def test_every_request_is_admitted_once_and_ends_once(name: str, runners: Mapping[str, ModelRunner]) -> None:
    requests = mixed_requests(runners[name].model.config, seed=11, count=5)
    engine, events = engine_with(runners[name], requests, max_running=3)
    run_to_end(engine)
    for request in requests:
        sent = events[request.request_id]
        assert kinds(sent) == ["Admitted", "Finished"]
        assert isinstance(sent[0], Admitted)
        end = sent[-1]
        assert isinstance(end, Finished)
        new = [token_id for event in sent if isinstance(event, Step) for token_id in event.new_final]
        assert len(new) == end.num_tokens <= request.params.max_new_tokens


def test_requests_are_admitted_in_the_order_of_their_arrival(llada: ModelRunner) -> None:
    order: list[str] = []
    engine = Engine(llada, EngineConfig())
    for name in "abc":
        engine.add(RequestState(request_of(name), llada.model.config, lambda event: order.append(event.request_id)))
    engine.admit()
    assert order == ["a", "b", "c"]


def test_admission_reports_the_device_and_what_was_left_out(llada: ModelRunner) -> None:
    context_length = llada.model.config.context_length
    long = replace(request_of("a"), prefix=(5,) * (context_length + 10))
    engine, events = engine_with(llada, [long])
    engine.admit()
    assert events["a"] == [Admitted("a", "cpu", num_truncated=10 + 4)]


def test_a_running_request_is_cancelled_and_its_room_is_free(llada: ModelRunner) -> None:
    engine, events = engine_with(llada, [request_of("a"), request_of("b")], max_running=1)
    engine.step()
    engine.abort("a")
    assert events["a"][-1] == Cancelled("a", nfe=1)
    engine.step()
    assert kinds(events["b"]) == ["Admitted"]
    run_to_end(engine)
    assert kinds(events["a"]) == ["Admitted", "Cancelled"]
    assert kinds(events["b"]) == ["Admitted", "Finished"]


def test_a_waiting_request_is_cancelled_without_having_begun(llada: ModelRunner) -> None:
    engine, events = engine_with(llada, [request_of("a"), request_of("b")], max_running=1)
    engine.step()
    engine.abort("b")
    run_to_end(engine)
    assert events["b"] == [Cancelled("b", nfe=0)]


def test_a_finished_or_unknown_request_cannot_be_cancelled(llada: ModelRunner) -> None:
    engine, events = engine_with(llada, [request_of("a")])
    run_to_end(engine)
    for request_id in ("a", "unknown"):
        engine.abort(request_id)
    assert kinds(events["a"]) == ["Admitted", "Finished"]


def test_a_full_queue_refuses_and_sends_nothing(llada: ModelRunner) -> None:
    engine, events = engine_with(llada, [request_of("a")], max_waiting=1)
    with pytest.raises(QueueFull):
        engine.add(state_of(llada, request_of("b"), events))
    assert events["b"] == []


def test_an_engine_without_work_does_nothing(llada: ModelRunner) -> None:
    engine = Engine(llada, EngineConfig())
    assert not engine.has_work
    engine.step()
    assert not engine.has_work


def test_one_engine_step_is_one_denoising_step_of_each(llada: ModelRunner) -> None:
    engine, _ = engine_with(llada, [request_of("a", 4), request_of("b", 6), request_of("c", 8, cfg_scale=1.0)])
    engine.admit()
    states = list(engine.scheduler.running)
    for step in range(1, 4):
        engine.step()
        assert [state.nfe for state in states] == [step] * 3


# -- defects ----------------------------------------------------------------------------------------------------------

DEFECT = 666
"""The seed of the request that breaks."""


def break_a_sampler(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """`method` of the sampler of the request with the seed `DEFECT` raises."""
    intact = getattr(BlockSampler, method)

    def broken(self: BlockSampler, *args: Any) -> Any:
        if self._params.seed == DEFECT:
            raise ZeroDivisionError("a defect")
        return intact(self, *args)

    monkeypatch.setattr(BlockSampler, method, broken)


@pytest.mark.parametrize("method", ["apply", "plan"])
def test_a_defect_in_one_request_fails_only_that_one(
    method: str, llada: ModelRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_a_sampler(monkeypatch, method)
    engine, events = engine_with(llada, [request_of("a"), request_of("broken", seed=DEFECT), request_of("b")])
    run_to_end(engine)
    assert {name: kinds(sent) for name, sent in events.items()} == {
        "a": ["Admitted", "Finished"],
        "broken": ["Admitted", "Failed"],
        "b": ["Admitted", "Finished"],
    }
    failure = events["broken"][-1]
    assert isinstance(failure, Failed)
    assert isinstance(failure.error, EngineStopped)
    assert "ZeroDivisionError: a defect" in str(failure.error)
    assert isinstance(failure.error.__cause__, ZeroDivisionError)


def test_all_requests_can_be_failed_at_once(llada: ModelRunner) -> None:
    engine, events = engine_with(llada, [request_of("a"), request_of("b")], max_running=1)
    engine.step()
    error = EngineStopped("the end")
    engine.fail_all(error)
    assert (events["a"][-1], events["b"]) == (Failed("a", error, nfe=1), [Failed("b", error, nfe=0)])
    assert not engine.has_work
