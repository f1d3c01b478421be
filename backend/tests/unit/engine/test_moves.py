"""Requests that change devices on their way take along what is cached of them, and leave nothing behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from app.engine import recovery
from app.engine.cache.store import KeyValues
from app.engine.device.memory import DeviceMemory
from app.engine.engine import Engine
from app.engine.interface.config import EngineConfig, RuntimeName
from app.engine.interface.errors import OutOfDeviceMemory
from app.engine.interface.events import Admitted, EngineEvent, Failed, Finished
from app.engine.interface.params import DecodingParams, GenerationRequest
from app.engine.passes.runner import ModelRunner
from app.engine.recovery import CPU, RETURN_AFTER_S, Home, Recovery
from app.engine.request.state import RequestState
from tests.faults import DEVICE_NAME, FaultyRunner, IsFault
from tests.profiles import examples
from tests.unit.engine.mixture import mixed_requests

Events = dict[str, list[EngineEvent]]
TOTAL = 10**10


@pytest.fixture(autouse=True)
def _quick_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "free_caches", lambda device: None)


def never(number: int, num_sequences: int) -> bool:
    return False


def later_than(number: int) -> IsFault:
    return lambda number_now, _: number_now > number


class Machine:
    """A device with faults and a CPU, each with so much free memory; clocks stand still until they are set."""

    def __init__(
        self, runner: ModelRunner, is_fault: IsFault, runtime: RuntimeName = "auto", home: Home | None = None
    ) -> None:
        config = EngineConfig(memory_threshold=1.0, max_running=64, cpu_runtime=runtime)
        self.free = {DEVICE_NAME: TOTAL, "cpu": TOTAL}
        self.now_s = 0.0
        self.device = FaultyRunner(runner.model, is_fault, cpu_runtime=runtime)
        if home is not None:
            self.device.device_name = "cpu"
        self.engine = Engine(self.device, config)
        self.engine.recovery = Recovery(
            self.device,
            config,
            memory=lambda name: DeviceMemory(TOTAL - self.free[name], TOTAL),
            home=home,
            clock=lambda: self.now_s,
        )
        self.events: Events = {}

    def add(self, requests: list[GenerationRequest]) -> None:
        for request in requests:
            events = self.events.setdefault(request.request_id, [])
            self.engine.add(RequestState(request, self.device.model.config, events.append))

    def run(self) -> None:
        while self.engine.has_work:
            self.engine.step()

    @property
    def sent(self) -> Events:
        """Without the devices."""
        return {
            name: [replace(e, device="") if isinstance(e, Admitted | Finished) else e for e in events]
            for name, events in self.events.items()
        }


def undisturbed(runner: ModelRunner, requests: list[GenerationRequest], runtime: RuntimeName) -> Events:
    machine = Machine(runner, never, runtime)
    machine.add(requests)
    machine.run()
    return machine.sent


def requests_with_caches(runner: ModelRunner, seed: int, count: int) -> list[GenerationRequest]:
    """With caches, guidance, divergences, revisions and log-probabilities, long enough to be struck on their way."""
    mixed = mixed_requests(runner.model.config, seed, count)
    return [replace(request, num_logprobs=2 if number % 2 else None) for number, request in enumerate(mixed)]


@pytest.mark.parametrize("runtime", ["auto", "torch"])
@pytest.mark.parametrize("name", ["llada-tiny", "dreamon-tiny", "sdar-tiny"])
def test_a_request_that_moves_gets_the_same_events_and_leaves_nothing_cached(
    name: str, runtime: RuntimeName, runners: Mapping[str, ModelRunner]
) -> None:
    requests = requests_with_caches(runners[name], seed=9, count=12)
    expected = undisturbed(runners[name], requests, runtime)
    for after in (2, 5):
        machine = Machine(runners[name], later_than(after), runtime)
        machine.add(requests)
        for _ in range(after + 1):
            machine.engine.step()
        assert machine.device.num_passes > after, "it was struck"
        assert machine.device.cached_names() == set(), "the full device still holds what has gone on on the CPU"
        machine.run()
        assert machine.sent == expected
        assert machine.engine.recovery.counters.num_moved_requests > 0
        assert machine.engine.runner.cached_names() == set()


@pytest.mark.parametrize("name", ["llada-tiny", "dreamon-tiny"])
def test_cached_keys_move_between_graphs_and_modules_too(name: str, runners: Mapping[str, ModelRunner]) -> None:
    """The two ways to compute a model differ in the last bits, and keys differ by no more."""
    model = runners[name].model
    request = GenerationRequest("a", (5, 6, 7, 8, 9), (10, 11), DecodingParams(8, cache="dual"))
    runtimes: tuple[RuntimeName, ...] = ("auto", "torch")
    for before in runtimes:
        for after in runtimes:
            device, cpu = ModelRunner(model, cpu_runtime=before), ModelRunner(model, cpu_runtime=after)
            state = RequestState(request, model.config, lambda _: None)
            state.start()
            step(state, device)
            here = device._forward.cached("a")
            device.hand_over(["a"], cpu)
            there = cpu._forward.cached("a")
            assert device.cached_names() == set()
            assert here is not None
            assert there is not None
            for one, other in zip(here.layers(), there.layers(), strict=True):
                for x, y in zip(one, other, strict=True):
                    torch.testing.assert_close(x, y, atol=1e-5, rtol=1e-5)
            step(state, cpu)
            assert state.nfe == 2


def step(state: RequestState, runner: ModelRunner) -> None:
    (predicted,) = runner.run([state.work])
    state.advance(predicted)


def test_cached_keys_that_do_not_fit_the_cpu_stay_on_the_device(
    llada: ModelRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request rests with its keys until there is room, here or there."""
    requests = [r for r in requests_with_caches(llada, seed=9, count=12) if r.params.cache != "none"][:2]
    expected = undisturbed(llada, requests, "torch")
    is_full = True
    machine = Machine(llada, lambda number, _: is_full and number > 2, "torch")
    machine.add(requests)
    for _ in range(2):
        machine.engine.step()
    cached = machine.device.cached_names()
    assert cached

    def refuse(*_: object) -> KeyValues:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(KeyValues, "copied", refuse)
        outcomes = machine.engine.recovery.run({s.request.request_id: s.work for s in machine.engine.scheduler.running})
    assert {type(outcome) for outcome in outcomes.values()} == {OutOfDeviceMemory}
    assert machine.device.cached_names() == cached
    is_full = False
    machine.run()
    assert machine.sent == expected


# -- whatever strikes -------------------------------------------------------------------------------------------------


@settings(
    examples(3, HealthCheck.function_scoped_fixture),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to make an example smaller takes minutes
)
@given(data=st.data())
@pytest.mark.parametrize("count", [1, 8])
@pytest.mark.parametrize(("name", "runtime"), [("llada-tiny", "auto"), ("dreamon-tiny", "torch")])
def test_memory_that_shrinks_and_grows_changes_no_text(
    name: str, runtime: RuntimeName, count: int, data: st.DataObject, runners: Mapping[str, ModelRunner]
) -> None:
    """A request sends what it sends undisturbed, or ends with the error that says why, after the beginning of it."""
    requests = requests_with_caches(runners[name], data.draw(st.integers(0, 50)), count)
    expected = undisturbed(runners[name], requests, runtime)
    faults = data.draw(st.sets(st.integers(1, 30), max_size=12))
    most = data.draw(st.integers(1, 10))
    amounts = st.sampled_from([0, 10**5, 10**6, 10**7, TOTAL])
    machine = Machine(runners[name], lambda number, num: number in faults or num > most, runtime)
    machine.add(requests)
    while machine.engine.has_work:
        machine.free = {DEVICE_NAME: data.draw(amounts), "cpu": data.draw(amounts)}
        machine.now_s += data.draw(st.sampled_from([0.0, RETURN_AFTER_S]))
        machine.engine.step()
    for request_id, sent in machine.sent.items():
        end = sent[-1]
        if isinstance(end, Failed):
            assert isinstance(end.error, OutOfDeviceMemory)
            assert sent[:-1] == expected[request_id][: len(sent) - 1]
        else:
            assert sent == expected[request_id]
    assert machine.engine.runner.cached_names() == set()


# -- home -------------------------------------------------------------------------------------------------------------


def test_a_model_that_had_to_be_loaded_elsewhere_goes_home_and_those_that_run_stay(llada: ModelRunner) -> None:
    """As after a reload beside an instance that filled the device."""
    machine = Machine(llada, never, "torch", home=Home(CPU, DEVICE_NAME, torch.float32))
    params = DecodingParams(6, block_length=3, cache="dual", confidence_threshold=0.9, stability_bound=0.5)
    requests = [GenerationRequest(name, (5, 6, 7), (8,), params, num_logprobs=1) for name in "abc"]
    expected = undisturbed(llada, requests, "torch")
    machine.free[DEVICE_NAME] = 0
    machine.add(requests[:1])
    machine.engine.step()
    machine.free[DEVICE_NAME], machine.now_s = TOTAL, RETURN_AFTER_S
    machine.add(requests[1:])
    machine.run()
    assert machine.sent == expected
    devices = {
        name: [event.device for event in events if isinstance(event, Admitted | Finished)]
        for name, events in machine.events.items()
    }
    assert list(devices.values()) == [["cpu", "cpu"], [DEVICE_NAME] * 2, [DEVICE_NAME] * 2]
    assert machine.engine.recovery.counters.num_returned_models == 1
    assert machine.engine.recovery._cpu_runner is None, "the CPU's weights went with the last request there"
