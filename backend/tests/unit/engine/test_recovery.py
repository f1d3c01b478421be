from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from weakref import ref

import pytest
import torch
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from app.engine import recovery
from app.engine.cache.store import KeyValues
from app.engine.device.memory import DeviceMemory
from app.engine.engine import Engine
from app.engine.families.checkpoint import load_model
from app.engine.interface.config import EngineConfig
from app.engine.interface.errors import OutOfDeviceMemory
from app.engine.interface.events import Admitted, EngineEvent, Failed, Finished
from app.engine.interface.params import DecodingParams, GenerationRequest
from app.engine.passes.runner import ModelRunner
from app.engine.recovery import CLEAN_PASSES, CPU, MOVES_BEFORE_MODEL, RETURN_AFTER_S, Recovery, copied
from app.engine.request.state import RequestState
from tests.faults import DEVICE_NAME, FaultyRunner, IsFault
from tests.profiles import examples
from tests.unit.engine.checkpoints import CHECKPOINTS
from tests.unit.engine.mixture import mixed_requests

Events = dict[str, list[EngineEvent]]
GIGABYTE = 10**9


@pytest.fixture(autouse=True)
def _quick_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Freeing caches collects garbage, which takes its time beside a whole test run."""
    monkeypatch.setattr(recovery, "free_caches", lambda device: None)


class Machine:
    """An engine on a faulty device, with memory and a clock that stand still until they are set."""

    def __init__(self, runner: ModelRunner, is_fault: IsFault, device: str = "auto") -> None:
        config = EngineConfig(device=device, memory_threshold=0.8, max_running=64)
        self.now_s = 0.0
        self.used = {DEVICE_NAME: 1 * GIGABYTE, "cpu": 1 * GIGABYTE}
        self.faulty = FaultyRunner(runner.model, is_fault)
        self.engine = Engine(self.faulty, config)
        self.engine.recovery = Recovery(
            self.faulty,
            config,
            memory=lambda name: DeviceMemory(self.used[name], 10 * GIGABYTE),
            clock=lambda: self.now_s,
        )
        self.events: Events = {}

    def add(self, seed: int, count: int) -> list[str]:
        config = self.faulty.model.config
        requests = [
            replace(request, request_id=f"{seed}/{request.request_id}")
            for request in mixed_requests(config, seed, count, caches=False)
        ]
        for request in requests:
            events = self.events.setdefault(request.request_id, [])
            self.engine.add(RequestState(request, config, events.append))
        return [request.request_id for request in requests]

    def run(self) -> None:
        while self.engine.has_work:
            self.engine.step()

    @property
    def counters(self) -> tuple[int, int, int, int]:
        counters = self.engine.recovery.counters
        return (
            counters.num_split_batches,
            counters.num_moved_requests,
            counters.num_moved_models,
            counters.num_returned_models,
        )

    def devices(self, request_id: str) -> tuple[str, str]:
        """The devices where a request began and where it ended."""
        first, last = self.events[request_id][0], self.events[request_id][-1]
        assert isinstance(first, Admitted)
        assert isinstance(last, Finished)
        return first.device, last.device


def never(number: int, num_sequences: int) -> bool:
    return False


def always(number: int, num_sequences: int) -> bool:
    return True


def without_devices(events: Events) -> Events:
    return {
        name: [replace(event, device="") if isinstance(event, Admitted | Finished) else event for event in sent]
        for name, sent in events.items()
    }


# -- the same text ----------------------------------------------------------------------------------------------------


@examples(2, HealthCheck.function_scoped_fixture)
@given(data=st.data())
@pytest.mark.parametrize("name", ["llada-tiny", "dream-tiny", "dreamon-tiny", "stable-diffcoder-tiny"])
def test_passes_that_do_not_fit_change_no_event(
    name: str, data: st.DataObject, runners: Mapping[str, ModelRunner]
) -> None:
    faults = data.draw(st.sets(st.integers(1, 40), max_size=20))
    most = data.draw(st.integers(1, 8))
    undisturbed = Machine(runners[name], never)
    undisturbed.add(seed=5, count=4)
    undisturbed.run()
    machine = Machine(runners[name], lambda number, num_sequences: number in faults or num_sequences > most)
    machine.add(seed=5, count=4)
    machine.run()
    assert without_devices(machine.events) == without_devices(undisturbed.events)


# -- rung by rung -----------------------------------------------------------------------------------------------------


def test_one_fault_frees_the_caches_and_runs_the_pass_again(llada: ModelRunner) -> None:
    machine = Machine(llada, lambda number, _: number == 2)
    names = machine.add(seed=1, count=3)
    machine.run()
    assert machine.engine.recovery.counters.num_out_of_memory == 1
    assert machine.counters == (0, 0, 0, 0)
    assert {machine.devices(name) for name in names} == {(DEVICE_NAME, DEVICE_NAME)}


def test_a_batch_that_does_not_fit_runs_in_parts_that_do(llada: ModelRunner) -> None:
    machine = Machine(llada, lambda _, num_sequences: num_sequences > 2)
    config = machine.faulty.model.config
    mixed = mixed_requests(config, seed=1, count=40, caches=False)
    one_sequence_each = [r for r in mixed if not r.params.cfg_scale and not r.params.mask_lengths]
    for request in one_sequence_each[:4]:
        machine.engine.add(RequestState(request, config, machine.events.setdefault(request.request_id, []).append))
    machine.run()
    num_split, num_moved, _, _ = machine.counters
    assert (num_split, num_moved) == (1, 0)  # the next passes begin with the smaller batch


def test_a_smaller_batch_grows_again_after_clean_passes(llada: ModelRunner) -> None:
    machine = Machine(llada, lambda number, _: number in (1, 2))
    machine.add(seed=1, count=6)
    machine.engine.step()
    num_before = machine.faulty.num_passes
    machine.engine.step()
    assert machine.faulty.num_passes - num_before > 1
    for seed in range(2, 2 + 2 * CLEAN_PASSES):
        machine.add(seed, count=1)
        machine.run()
    machine.add(seed=1000, count=6)
    machine.engine.step()
    num_before = machine.faulty.num_passes
    machine.engine.step()
    assert machine.faulty.num_passes - num_before == 1


def test_a_request_that_does_not_fit_alone_goes_on_on_the_cpu_and_says_so(llada: ModelRunner) -> None:
    machine = Machine(llada, lambda number, _: number in (2, 3))
    (name,) = machine.add(seed=2, count=1)
    machine.run()
    assert machine.devices(name) == (DEVICE_NAME, "cpu")
    assert machine.counters == (0, 1, 0, 0)
    (after,) = machine.add(seed=3, count=1)
    machine.run()
    assert machine.devices(after) == (DEVICE_NAME, DEVICE_NAME)


def test_the_weights_move_to_the_cpu_after_several_requests_and_return_with_free_memory(llada: ModelRunner) -> None:
    is_full = True
    machine = Machine(llada, lambda *_: is_full)
    for seed in range(MOVES_BEFORE_MODEL):
        machine.add(seed, count=1)
        machine.run()
    assert machine.counters == (0, MOVES_BEFORE_MODEL, 1, 0)
    assert machine.engine.runner.device_name == "cpu"

    machine.now_s, machine.used[DEVICE_NAME] = RETURN_AFTER_S, 9 * GIGABYTE
    (still_away,) = machine.add(seed=50, count=1)
    machine.run()
    assert machine.devices(still_away) == ("cpu", "cpu")

    is_full = False
    machine.now_s, machine.used[DEVICE_NAME] = 2 * RETURN_AFTER_S, 1 * GIGABYTE
    (back,) = machine.add(seed=51, count=1)
    machine.run()
    assert machine.devices(back) == (DEVICE_NAME, DEVICE_NAME)
    assert machine.counters == (0, MOVES_BEFORE_MODEL, 1, 1)


def test_quantised_weights_move_too_and_give_the_same_events_everywhere() -> None:
    runner = ModelRunner(load_model(CHECKPOINTS["dreamon-tiny"], CPU, torch.float32, "int8"))
    undisturbed, machine = Machine(runner, never), Machine(runner, always)
    for seed in range(MOVES_BEFORE_MODEL + 1):
        for each in (undisturbed, machine):
            each.add(seed, count=1)
            each.run()
    assert machine.counters == (0, MOVES_BEFORE_MODEL, 1, 0)
    assert machine.engine.runner.memory_bytes == runner.memory_bytes
    assert without_devices(machine.events) == without_devices(undisturbed.events)


# -- before it comes to that ------------------------------------------------------------------------------------------


def test_above_the_threshold_new_work_begins_on_the_cpu(llada: ModelRunner) -> None:
    machine = Machine(llada, never)
    machine.used[DEVICE_NAME] = 8 * GIGABYTE
    (name,) = machine.add(seed=2, count=1)
    machine.run()
    assert machine.devices(name) == ("cpu", "cpu")
    assert machine.faulty.num_passes == 0


def test_a_device_that_is_named_may_be_filled(llada: ModelRunner) -> None:
    machine = Machine(llada, never, device="cuda:0")
    machine.used[DEVICE_NAME] = 9 * GIGABYTE
    (name,) = machine.add(seed=2, count=1)
    machine.run()
    assert machine.devices(name) == (DEVICE_NAME, DEVICE_NAME)


def test_a_request_for_which_no_memory_is_free_anywhere_fails_alone(llada: ModelRunner) -> None:
    machine = Machine(llada, always)
    machine.used["cpu"] = 10 * GIGABYTE
    machine.used[DEVICE_NAME] = 10 * GIGABYTE
    (name,) = machine.add(seed=2, count=1)
    machine.run()
    (failure,) = machine.events[name]
    assert isinstance(failure, Failed)
    assert isinstance(failure.error, OutOfDeviceMemory)
    assert "0 MB are free" in str(failure.error)
    assert failure.error.__traceback__ is None, "it would hold the runner"
    machine.used["cpu"] = 0
    (after,) = machine.add(seed=3, count=1)
    machine.run()
    assert machine.devices(after) == ("cpu", "cpu")


@pytest.mark.usefixtures("uncollected")
def test_nothing_of_a_copy_that_did_not_fit_stays_while_its_request_rests(
    llada: ModelRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[ref[KeyValues]] = []

    def copied_in_part(self: KeyValues, *_: object) -> KeyValues:
        copy = KeyValues()
        begun.append(ref(copy))
        copy.fill(*next(self.layers()))
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(KeyValues, "copied", copied_in_part)
    config = EngineConfig(cpu_runtime="torch")
    runner = FaultyRunner(llada.model, lambda number, _: number in (3, 4, 6, 7), "torch")  # both, both, "b", "b"
    engine = Engine(runner, config)
    engine.recovery = Recovery(runner, config, memory=lambda name: DeviceMemory(0, 10 * GIGABYTE))
    states = [RequestState(request, runner.model.config, lambda event: None) for request in map(_cached, "ab")]
    for state in states:
        engine.add(state)
    for _ in range(3):
        engine.step()
    assert [state.nfe for state in states] == [3, 2], "the second one rests"
    assert [copy() for copy in begun] == [None]

    kept = runner._forward.cached("b")
    assert isinstance(kept, KeyValues)
    on_device = ref(kept)
    del kept
    engine.abort("b")
    assert on_device() is None


def _cached(name: str) -> GenerationRequest:
    return GenerationRequest(name, (5, 6, 7), (), DecodingParams(12, cache="dual"), open_ended=True)


def test_a_step_that_fits_nowhere_fails_its_request_and_no_other(llada: ModelRunner) -> None:
    machine = Machine(llada, lambda _, num_sequences: num_sequences > 1)
    machine.faulty.device_name = "cpu"
    machine.add(seed=1, count=12)
    machine.run()
    ends = {type(events[-1]) for events in machine.events.values()}
    assert ends == {Finished, Failed}  # with guidance or a choice of lengths there are several sequences


def test_a_log_line_about_a_request_carries_its_id(llada: ModelRunner, caplog: pytest.LogCaptureFixture) -> None:
    machine = Machine(llada, always)
    (name,) = machine.add(seed=2, count=1)
    machine.run()
    records = [record for record in caplog.records if name in record.getMessage()]
    assert records
    assert {vars(record)["request_id"] for record in records} == {name}


# -- copies -----------------------------------------------------------------------------------------------------------


def test_a_copy_has_the_same_weights_and_shares_none(llada: ModelRunner) -> None:
    copy = copied(llada.model, CPU, torch.bfloat16)
    for (name, weight), original in zip(copy.named_parameters(), llada.model.parameters(), strict=True):
        assert weight.dtype is torch.bfloat16, name
        assert torch.equal(weight, original.bfloat16())
    assert copy.config is llada.model.config or copy.config == llada.model.config


def test_a_copy_that_does_not_fit_is_out_of_memory(llada: ModelRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(*_: object) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 3 TiB")

    monkeypatch.setattr(torch.nn.Parameter, "to", too_large)
    with pytest.raises(OutOfDeviceMemory, match="the weights do not fit cpu"):
        copied(llada.model, CPU, torch.float64)
