"""Faults inside a pass: a request gets the events that it would have got, or ends with the error that says why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from app.engine import recovery
from app.engine.device.memory import DeviceMemory
from app.engine.engine import Engine
from app.engine.interface.config import EngineConfig
from app.engine.interface.errors import EngineStopped, OutOfDeviceMemory
from app.engine.interface.events import Admitted, EngineEvent, Failed, Finished, Step
from app.engine.interface.params import GenerationRequest
from app.engine.passes.runner import ModelRunner
from app.engine.recovery import Recovery
from app.engine.request.state import RequestState
from tests.faults import DEVICE_NAME
from tests.profiles import examples
from tests.strikes import ALLOCATION, KINDS, POINTS, Strike, struck_by
from tests.unit.engine.mixture import mixed_requests

NAMES = (
    *("llada-tiny", "llada-tiny by modules", "dreamon-tiny", "dreamon-tiny by modules", "dream-tiny"),
    *("sdar-tiny", "sdar-tiny by modules", "fast-dllm-v2-tiny"),
)
NUM_MIXTURES = 12
Events = dict[str, list[EngineEvent]]

strikes = st.builds(
    Strike,
    st.sampled_from([*POINTS, ALLOCATION, ALLOCATION]),
    st.integers(1, 40) | st.integers(1, 2000),
    st.sampled_from([*KINDS, "device"]),
)


@pytest.fixture(autouse=True)
def _quick_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "free_caches", lambda device: None)


def requests_of(runner: ModelRunner, seed: int, count: int) -> list[GenerationRequest]:
    """A mixture of all kinds; every other one also asks for log-probabilities."""
    mixed = mixed_requests(runner.model.config, seed, count)
    return [replace(r, num_logprobs=2 if index % 2 else None) for index, r in enumerate(mixed)]


def engine_of(runner: ModelRunner) -> Engine:
    """On a machine that has room for anything until it is struck."""
    config = EngineConfig(max_running=64)
    engine = Engine(runner, config)
    engine.recovery = Recovery(runner, config, memory=lambda name: DeviceMemory(0, 10**12), clock=lambda: 0.0)
    return engine


def run(runner: ModelRunner, requests: list[GenerationRequest]) -> Events:
    """All events by request. After every step, also one that failed, what is cached is sound and of running
    requests."""
    engine = engine_of(runner)
    events: Events = {request.request_id: [] for request in requests}
    for request in requests:
        engine.add(RequestState(request, runner.model.config, events[request.request_id].append))
    while engine.has_work:
        try:
            engine.step()
        except Exception as error:  # what the thread does
            engine.fail_step(EngineStopped(f"an engine step failed: {error}"))
        running = {name for state in engine.scheduler.running for name in state.cache_names}
        for each in filter(None, (runner, engine.runner, engine.recovery._cpu_runner)):
            assert each.cached_names() <= running
    assert runner.cached_names() == engine.runner.cached_names() == set()
    return events


class Undisturbed:
    """The events of the mixtures when nothing strikes, each computed once."""

    def __init__(self, runners: Mapping[str, ModelRunner]) -> None:
        self.of = cache(lambda name, seed, count: run(runners[name], requests_of(runners[name], seed, count)))


@pytest.fixture(scope="module")
def undisturbed(runners: Mapping[str, ModelRunner]) -> Undisturbed:
    for runner in runners.values():  # other tests have left things behind
        for name in runner.cached_names():
            runner.forget(name)
    return Undisturbed(runners)


def assert_sent(sent: list[EngineEvent], expected: list[EngineEvent]) -> None:
    """All of what was expected, or its beginning and then why it is no more."""
    end = sent[-1]
    if not isinstance(end, Failed):
        assert sent == expected
        return
    assert sent[:-1] == expected[: len(sent) - 1]
    assert isinstance(end.error, OutOfDeviceMemory | EngineStopped)
    assert any(word in str(end.error) for word in ("out of memory", "bad_alloc", "kernel"))


@pytest.mark.parametrize("name", NAMES)
@examples(6, HealthCheck.function_scoped_fixture)
@given(st.integers(0, NUM_MIXTURES - 1), st.sampled_from([1, 8]), st.lists(strikes, min_size=1, max_size=4))
def test_faults_inside_a_pass_change_no_event_of_a_request_that_finishes(
    runners: Mapping[str, ModelRunner],
    undisturbed: Undisturbed,
    name: str,
    seed: int,
    count: int,
    falling: list[Strike],
) -> None:
    expected = undisturbed.of(name, seed, count)
    with struck_by(*falling) as striking:
        events = run(runners[name], requests_of(runners[name], seed, count))
    for request_id, sent in events.items():
        assert_sent(sent, expected[request_id])
    if not striking.struck:
        assert events == expected


@pytest.mark.parametrize("name", ["llada-tiny by modules", "dreamon-tiny", "sdar-tiny", "sdar-tiny by modules"])
def test_one_lack_of_memory_anywhere_changes_no_event(
    name: str, runners: Mapping[str, ModelRunner], undisturbed: Undisturbed
) -> None:
    """The second attempt finds what the first one did, whichever function that came to."""
    num_struck = 0
    for number, point in enumerate([*POINTS, ALLOCATION, ALLOCATION]):
        seed, strike = number % 3, Strike(point, 1 + 7 * number % 5 + 40 * (point == ALLOCATION) * number)
        with struck_by(strike) as striking:
            events = run(runners[name], requests_of(runners[name], seed, 4))
        num_struck += len(striking.struck)
        assert events == undisturbed.of(name, seed, 4), strike
    assert num_struck >= 5


@pytest.mark.parametrize("name", ["llada-tiny", "dreamon-tiny"])
@examples(2, HealthCheck.function_scoped_fixture)
@given(st.integers(0, NUM_MIXTURES - 1), st.lists(strikes.filter(lambda s: s.kind != "defect"), max_size=6))
def test_requests_that_faults_move_to_the_cpu_get_the_same_text(
    runners: Mapping[str, ModelRunner], undisturbed: Undisturbed, name: str, seed: int, falling: list[Strike]
) -> None:
    """All that is cached of them goes along: all but the last bits of what other kernels compute is as it was."""
    device = ModelRunner(runners[name].model, DEVICE_NAME)
    requests = requests_of(device, seed, 4)
    always = [Strike("sampling", number) for number in range(3, 9)]
    with struck_by(*falling, *always):
        events = run(device, requests)
    for request in requests:
        sent, params = events[request.request_id], request.params
        assert sum(isinstance(event, Finished | Failed) for event in sent) == 1
        if not isinstance(sent[-1], Finished):
            continue
        expected = undisturbed.of(name, seed, 4)[request.request_id]
        if params.cache == "none":
            assert without_devices(sent) == without_devices(expected)
        assert text_and_passes(sent) == text_and_passes(expected)


def text_and_passes(events: list[EngineEvent]) -> list[tuple[tuple[int, ...], int]]:
    return [(event.new_final, event.nfe) for event in events if isinstance(event, Step)]


def without_devices(events: list[EngineEvent]) -> list[EngineEvent]:
    return [replace(event, device="") if isinstance(event, Admitted | Finished) else event for event in events]
