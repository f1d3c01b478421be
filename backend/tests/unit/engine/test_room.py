"""Admission where memory is short: first come, first served, and no request fails that could have waited."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from app.engine import recovery
from app.engine.device.memory import DeviceMemory
from app.engine.engine import Engine
from app.engine.interface.config import EngineConfig
from app.engine.interface.errors import EngineStopped, OutOfDeviceMemory
from app.engine.interface.events import Admitted, Cancelled, EngineEvent, Failed, Finished
from app.engine.interface.params import DecodingParams, GenerationRequest
from app.engine.passes.runner import ModelRunner
from app.engine.recovery import Recovery
from app.engine.request.state import RequestState
from tests.faults import DEVICE_NAME, FaultyRunner
from tests.profiles import examples

TOTAL = 10**12
PLENTY = 10**11


@pytest.fixture(autouse=True)
def _quick_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "free_caches", lambda device: None)


@dataclass
class Hall:
    """An engine, how much is free where it runs and on the CPU, and the events of its requests, in order."""

    runner: ModelRunner
    free_bytes: int
    free_on_cpu: int = PLENTY
    order: list[tuple[str, str]] = field(default_factory=list)
    events: dict[str, list[EngineEvent]] = field(default_factory=dict)
    states: dict[str, RequestState] = field(default_factory=dict)

    def __post_init__(self) -> None:
        config = EngineConfig(device=self.runner.device_name, cpu_runtime="torch", max_running=64)
        self.engine = Engine(self.runner, config)
        self.engine.recovery = Recovery(self.runner, config, memory=self._memory)

    def _memory(self, device: str) -> DeviceMemory:
        is_home = device == self.runner.device_name
        return DeviceMemory(TOTAL - (self.free_bytes if is_home else self.free_on_cpu), TOTAL)

    def arrive(self, name: str, num_tokens: int = 20, max_new_tokens: int = 4) -> None:
        def hear(event: EngineEvent) -> None:
            self.events[name].append(event)
            self.order.append((name, type(event).__name__))

        self.events[name] = []
        request = GenerationRequest(name, (5,) * num_tokens, (6,), DecodingParams(max_new_tokens))
        self.states[name] = RequestState(request, self.runner.model.config, hear)
        self.engine.add(self.states[name])

    def run(self) -> None:
        while self.engine.has_work:
            self.engine.step()

    def bytes_of(self, names: Sequence[str]) -> int:
        """Bytes that a step of these takes."""
        needs = [self.states[name].need for name in names]
        return self.runner.footprint.of_pass(sum(n.num_tokens for n in needs), sum(n.num_rows for n in needs))

    def names(self, kind: type[EngineEvent]) -> list[str]:
        """Names of the requests that were sent such an event, in the order of these events."""
        return [name for name, sent in self.order if sent == kind.__name__]

    def devices(self, kind: type[Admitted] | type[Finished]) -> list[str]:
        return [event.device for sent in self.events.values() for event in sent if isinstance(event, kind)]

    @property
    def running(self) -> list[str]:
        return [state.request.request_id for state in self.engine.scheduler.running]

    @property
    def waiting(self) -> list[str]:
        return [state.request.request_id for state in self.engine.scheduler.waiting]


@pytest.fixture
def by_modules(llada: ModelRunner) -> ModelRunner:
    """A runner whose need grows with the tokens, and not with their square."""
    return ModelRunner(llada.model, cpu_runtime="torch")


def one_request(runner: ModelRunner) -> int:
    hall = Hall(runner, PLENTY)
    hall.arrive("one")
    return hall.bytes_of(["one"])


# -- whatever comes ---------------------------------------------------------------------------------------------------


@examples(25, HealthCheck.function_scoped_fixture)
@given(
    arrivals=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 4), st.integers(0, 2)), min_size=1, max_size=8),
    room=st.floats(0.3, 4.0),
    aborted=st.sets(st.integers(0, 7), max_size=2),
)
def test_no_request_is_refused_for_one_that_came_later(
    arrivals: list[tuple[int, int, int]], room: float, aborted: set[int], by_modules: ModelRunner
) -> None:
    hall = Hall(by_modules, int(room * one_request(by_modules)))
    for number, (num_tokens, max_new_tokens, num_steps) in enumerate(arrivals):
        hall.arrive(str(number), num_tokens, max_new_tokens)
        for _ in range(num_steps):
            hall.engine.step()
            check(hall)
        if number in aborted:
            hall.engine.abort(str(number))
    while hall.engine.has_work:
        hall.engine.step()
        check(hall)
    ends = [sent[-1] for sent in hall.events.values()]
    assert all(isinstance(end, Finished | Cancelled | Failed) for end in ends)
    for end in ends:
        fits_alone = hall.bytes_of([end.request_id]) <= hall.free_bytes
        assert isinstance(end, Failed) is (not fits_alone and not isinstance(end, Cancelled)), end
    begun = hall.names(Admitted)
    assert begun == sorted(begun, key=int)


def check(hall: Hall) -> None:
    """All that run fit together, and who is first in line waits because of them."""
    running = hall.running
    assert not running or hall.bytes_of(running) <= hall.free_bytes
    hall.engine.admit()
    if hall.waiting:
        assert hall.running, "somebody waits for nothing"
        assert hall.bytes_of([*hall.running, hall.waiting[0]]) > hall.free_bytes


# -- on the CPU -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [True, False])
def test_two_of_four_requests_run_and_two_wait_in_any_order_of_arrival(at_once: bool, by_modules: ModelRunner) -> None:
    hall = Hall(by_modules, int(2.5 * one_request(by_modules)))
    for name in "abcd":
        hall.arrive(name)
        if not at_once:
            hall.engine.admit()
    hall.engine.admit()
    assert (hall.running, hall.waiting) == (["a", "b"], ["c", "d"])
    hall.run()
    assert hall.names(Finished) == ["a", "b", "c", "d"]


def test_a_request_that_does_not_fit_even_alone_fails_and_those_behind_it_run(by_modules: ModelRunner) -> None:
    hall = Hall(by_modules, int(1.5 * one_request(by_modules)))
    for name, num_tokens in (("a", 20), ("large", 110), ("b", 20)):
        hall.arrive(name, num_tokens)
    hall.engine.admit()
    assert hall.waiting == ["large", "b"], "it waits for a, in whose place there might have been room"
    hall.run()
    assert hall.names(Finished) == ["a", "b"]
    (failure,) = hall.events["large"]
    assert isinstance(failure, Failed)
    assert isinstance(failure.error, OutOfDeviceMemory)
    assert "MB are free" in str(failure.error)


def test_caches_are_freed_before_a_request_fails(by_modules: ModelRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    hall = Hall(by_modules, 0)

    def free(device: object) -> None:
        hall.free_bytes = PLENTY

    monkeypatch.setattr(recovery, "free_caches", free)
    hall.arrive("a")
    hall.run()
    assert hall.names(Finished) == ["a"]


def test_a_request_that_waits_for_room_can_be_cancelled_and_closed(by_modules: ModelRunner) -> None:
    hall = Hall(by_modules, int(1.5 * one_request(by_modules)))
    for name in "abcd":
        hall.arrive(name)
    hall.engine.step()
    hall.engine.abort("b")
    assert hall.events["b"] == [Cancelled("b", 0)]
    assert (hall.running, hall.waiting) == (["a"], ["c", "d"])
    hall.engine.abort("a")
    hall.engine.step()
    assert (hall.running, hall.waiting) == (["c"], ["d"])
    hall.engine.fail_all(EngineStopped("the engine was closed"))
    assert hall.names(Failed) == ["c", "d"]
    assert not hall.engine.has_work


def test_keys_that_are_cached_already_are_counted_once(by_modules: ModelRunner) -> None:
    """It is in the memory that is used, so it is not among what a request may need still."""
    state = RequestState(
        GenerationRequest("a", (5,) * 20, (6,), DecodingParams(4, cache="dual")),
        by_modules.model.config,
        lambda _: None,
    )
    engine = Engine(by_modules, EngineConfig(device="cpu"))
    engine.add(state)
    assert (state.need.num_cached, state.need.max_cached) == (0, 25)
    engine.step()
    assert (state.need.num_cached, state.need.max_cached) == (25, 25)
    assert engine.recovery._bytes_needed([state.need]) == by_modules.footprint.of_pass(25, 4)


# -- on an accelerator ------------------------------------------------------------------------------------------------


def on_device(runner: ModelRunner) -> FaultyRunner:
    return FaultyRunner(runner.model, lambda *_: False, cpu_runtime="torch")


def test_the_first_go_to_the_device_and_the_later_ones_wait_for_it(llada: ModelRunner) -> None:
    runner = on_device(llada)
    hall = Hall(runner, int(2.5 * one_request(runner)))
    for name in "abcd":
        hall.arrive(name)
    hall.engine.admit()
    assert (hall.running, hall.waiting) == (["a", "b"], ["c", "d"])
    hall.run()
    assert hall.names(Finished) == ["a", "b", "c", "d"]
    assert {*hall.devices(Admitted), *hall.devices(Finished)} == {DEVICE_NAME}


def test_a_request_that_would_not_fit_the_device_alone_begins_on_the_cpu_at_once(llada: ModelRunner) -> None:
    runner = on_device(llada)
    hall = Hall(runner, int(2.5 * one_request(runner)))
    for name, num_tokens in (("a", 20), ("large", 110), ("b", 20)):
        hall.arrive(name, num_tokens)
    hall.engine.admit()
    assert hall.running == ["a", "large", "b"], "b is not judged by what runs elsewhere"
    assert hall.devices(Admitted) == [DEVICE_NAME, "cpu", DEVICE_NAME]
    hall.run()
    assert len(hall.names(Finished)) == 3


def test_cached_keys_of_running_requests_are_room_to_wait_for(llada: ModelRunner) -> None:
    runner = on_device(llada)
    one = one_request(runner)
    hall = Hall(runner, 2 * one)
    request = GenerationRequest("a", (5,) * 20, (6,), DecodingParams(4, cache="dual"))
    first = RequestState(request, runner.model.config, lambda _: None)
    hall.engine.add(first)
    hall.engine.step()
    hall.free_bytes = one - 1  # its keys have taken the rest
    assert runner.footprint.cached(first.need.num_cached) >= 1
    hall.arrive("b")
    hall.engine.admit()
    assert hall.waiting == ["b"]
    hall.engine.abort("a")
    hall.free_bytes = 2 * one
    hall.run()
    assert hall.devices(Finished) == [DEVICE_NAME]


def test_a_request_that_fits_nowhere_waits_for_all_that_run_and_then_fails(llada: ModelRunner) -> None:
    runner = on_device(llada)
    hall = Hall(runner, int(1.5 * one_request(runner)), free_on_cpu=0)
    for name, num_tokens in (("a", 20), ("large", 110), ("b", 20)):
        hall.arrive(name, num_tokens)
    hall.engine.admit()
    assert hall.waiting == ["large", "b"]
    hall.run()
    assert (hall.names(Finished), hall.names(Failed)) == (["a", "b"], ["large"])


def test_room_on_the_cpu_is_counted_with_the_weights_that_have_to_go_there_too(llada: ModelRunner) -> None:
    runner = on_device(llada)
    one = one_request(runner)
    for free, expected in ((one + runner.memory_bytes - 1, Failed), (one + runner.memory_bytes, Admitted)):
        hall = Hall(runner, 0, free_on_cpu=free)
        hall.arrive("a")
        hall.engine.admit()
        assert isinstance(hall.events["a"][0], expected)


# -- while they run ---------------------------------------------------------------------------------------------------


def test_a_pass_that_fits_nowhere_waits_for_those_that_fit(by_modules: ModelRunner) -> None:
    """Memory has room for the passes of two sequences. One request needs three, and gets them once it is alone."""
    largest = 2

    runner = FaultyRunner(by_modules.model, lambda _, num_sequences: num_sequences > largest, cpu_runtime="torch")
    runner.device_name = "cpu"
    hall = Hall(runner, PLENTY)
    request = GenerationRequest("wide", (5, 6), (7,), DecodingParams(6, mask_lengths=(2, 4, 6)))
    events: list[EngineEvent] = []
    hall.engine.add(RequestState(request, runner.model.config, events.append))
    for name in "ab":
        hall.arrive(name)
    hall.engine.step()
    assert hall.running == ["wide", "a", "b"]
    hall.arrive("late")
    hall.engine.step()
    assert hall.waiting == ["late"], "nobody new while someone rests"
    hall.engine.abort("b")
    largest = 3
    hall.run()
    assert isinstance(events[-1], Finished)
    assert hall.names(Finished) == ["a", "late"]


def test_the_last_request_fails_if_no_request_can_continue(by_modules: ModelRunner) -> None:
    runner = FaultyRunner(by_modules.model, lambda number, _: number > 3, cpu_runtime="torch")
    runner.device_name = "cpu"
    hall = Hall(runner, PLENTY)
    for name in "abc":
        hall.arrive(name, max_new_tokens=9)
    hall.run()
    assert hall.names(Failed) == ["c", "b", "a"]
    for sent in hall.events.values():
        end = sent[-1]
        assert isinstance(end, Failed)
        assert isinstance(end.error, OutOfDeviceMemory)
