from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from weakref import ref

import pytest
import torch
from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException as OrtError

from app.engine import thread
from app.engine.device import devices
from app.engine.device.memory import DeviceMemory
from app.engine.engine import Engine
from app.engine.families.checkpoint import load_model
from app.engine.interface.config import Demand, EngineConfig, QuantizationName
from app.engine.interface.errors import (
    CheckpointError,
    DeviceBroken,
    EngineStopped,
    InvalidRequest,
    OutOfDeviceMemory,
    QueueFull,
)
from app.engine.interface.events import Admitted, Cancelled, EngineEvent, Failed, Finished, Step
from app.engine.interface.params import DecodingParams, GenerationRequest
from app.engine.models.base import FamilyModel
from app.engine.passes.runner import ModelRunner
from app.engine.recovery import CPU, Recovery
from app.engine.room import check
from app.engine.room.estimate import Estimate
from app.engine.thread import MAX_FAILURES_IN_A_ROW, EngineThread
from tests.conformance import traces
from tests.unit.engine.checkpoints import CHECKPOINTS
from tests.unit.engine.mixture import mixed_requests

PATIENCE_S = 30.0
Start = Callable[..., EngineThread]


@dataclass
class Listener:
    """Keeps what it hears; `on` reacts to an event on the engine's thread."""

    on: Callable[[EngineEvent], None] = lambda event: None
    events: list[EngineEvent] = field(default_factory=list)
    is_over: threading.Event = field(default_factory=threading.Event)

    def __call__(self, event: EngineEvent) -> None:
        self.events.append(event)
        if isinstance(event, Finished | Cancelled | Failed):
            self.is_over.set()
        self.on(event)

    def wait(self) -> list[EngineEvent]:
        """All events, once the request is over."""
        assert self.is_over.wait(PATIENCE_S), "the request did not end"
        return self.events

    @property
    def kinds(self) -> list[str]:
        return [type(event).__name__ for event in self.events if not isinstance(event, Step)]

    @property
    def error(self) -> Exception:
        end = self.wait()[-1]
        assert isinstance(end, Failed)
        return end.error


@dataclass
class Gate(Listener):
    """Holds the engine's thread at the request's admission until `opened`."""

    reached: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)

    def __call__(self, event: EngineEvent) -> None:
        super().__call__(event)
        if isinstance(event, Admitted):
            self.reached.set()
            assert self.opened.wait(PATIENCE_S)


@pytest.fixture
def start(runners: Mapping[str, ModelRunner]) -> Iterator[Start]:
    """Starts engine threads by checkpoint; afterwards closes them and makes sure that none is left."""
    engines: list[EngineThread] = []

    def start_one(name: str = "llada-tiny", **config: Any) -> EngineThread:
        engines.append(EngineThread(runners[name].model, EngineConfig(**config)))
        return engines[-1]

    yield start_one
    for engine in engines:
        engine.close()
    assert [thread for thread in threading.enumerate() if thread.name.startswith("engine-")] == []


def request_of(request_id: str, max_new_tokens: int = 4, **changes: Any) -> GenerationRequest:
    return GenerationRequest(request_id, (5, 6), (), DecodingParams(max_new_tokens, **changes), open_ended=True)


def submit(engine: EngineThread, request: GenerationRequest) -> Listener:
    listener = Listener()
    engine.submit(request, listener)
    return listener


# -- results ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_requests_from_many_threads_get_the_events_that_each_gets_alone(
    name: str, start: Start, runners: Mapping[str, ModelRunner]
) -> None:
    engine, requests = start(name), mixed_requests(runners[name].model.config, seed=21, count=8)
    listeners = [Listener() for _ in requests]
    clients = [
        threading.Thread(target=engine.submit, args=(request, listener))
        for request, listener in zip(requests, listeners, strict=True)
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    alone = [trace.events for trace in traces.run(runners[name], requests, together=False)]
    assert [listener.wait() for listener in listeners] == alone


def test_an_idle_engine_wakes_up_for_the_next_request(start: Start) -> None:
    engine = start()
    for number in range(3):
        assert submit(engine, request_of(str(number))).wait()[-1].request_id == str(number)


def test_model_device_and_type_can_be_read(start: Start) -> None:
    engine = start("dreamon-tiny")
    assert (engine.device, engine.dtype, engine.is_alive()) == ("cpu", "float32", True)
    assert engine.algorithms == ("entropy", "maskgit_plus", "topk_margin")
    assert engine.memory_bytes == 2 * sum(4 * weight.numel() for weight in engine.model.parameters())


def test_load_starts_a_checkpoint_and_times_it() -> None:
    engine = EngineThread.load(CHECKPOINTS["llada-tiny"], EngineConfig(device="cpu"))
    try:
        assert engine.load_time_s > 0
        assert submit(engine, request_of("a")).wait()
    finally:
        engine.close()


def test_auto_makes_do_with_the_cpu_where_the_weights_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: Path, device: torch.device, *how: Any) -> FamilyModel:
        if device.type != "cpu":
            raise OutOfDeviceMemory("no room")
        return load_model(folder, device, *how)

    monkeypatch.setattr(thread, "load_model", full)
    monkeypatch.setattr(thread, "preferred_device", lambda estimate: torch.device("mps"))
    engine = EngineThread.load(CHECKPOINTS["llada-tiny"], EngineConfig(device="auto"))
    engine.close()
    assert (engine.device, engine.dtype) == ("cpu", "float32")
    with pytest.raises(OutOfDeviceMemory, match="no room"):
        EngineThread.load(CHECKPOINTS["llada-tiny"], EngineConfig(device="mps"))


class Weights(list[float]):
    """A list, of which it can be known whether it is still there."""


@pytest.mark.usefixtures("uncollected")
def test_weights_that_did_not_all_fit_are_gone_before_anything_else_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    placed: list[ref[Weights]] = []

    def load(folder: Path, device: torch.device, *how: Any) -> FamilyModel:
        if device.type != "cpu":
            weights = Weights([0.0])
            placed.append(ref(weights))
            raise OutOfDeviceMemory("no room for the others")
        assert placed[0]() is None
        return load_model(folder, device, *how)

    monkeypatch.setattr(thread, "load_model", load)
    monkeypatch.setattr(thread, "preferred_device", lambda estimate: torch.device("mps"))
    EngineThread.load(CHECKPOINTS["llada-tiny"], EngineConfig(device="auto")).close()
    with pytest.raises(OutOfDeviceMemory, match="no room for the others") as raised:
        EngineThread.load(CHECKPOINTS["llada-tiny"], EngineConfig(device="mps"))
    assert raised.value.__cause__ is None, "an error that is its own cause never goes by itself"
    del raised
    assert [weights() for weights in placed] == [None, None]


@pytest.mark.parametrize(("preference", "expected"), [("auto", "cuda:0"), ("cpu", None)])
def test_weights_that_auto_puts_on_the_cpu_have_a_home_where_they_would_fit(
    preference: str, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def home(memory_threshold: float, needed_bytes: int) -> torch.device:
        asked.append(needed_bytes)
        return torch.device("cuda:0")

    monkeypatch.setattr(thread, "home_device", home)
    engine = EngineThread.load(CHECKPOINTS["llada-tiny"], EngineConfig(device=preference, cpu_runtime="torch"))
    engine.close()
    home_of_weights = engine._engine.recovery._home
    if expected is None:
        assert home_of_weights is None
    else:
        assert home_of_weights is not None
        assert (home_of_weights.name, home_of_weights.dtype) == (expected, torch.bfloat16)
        assert engine.memory_need is not None
        weights_there, request = engine.memory_bytes // 2, engine.memory_need.one.all
        assert asked == [weights_there + request], "in the type that it would have there"


def test_auto_looks_for_room_for_the_weights_as_they_will_be_and_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def choose(preference: str, memory_threshold: float, needed_bytes: int) -> torch.device:
        asked.append(needed_bytes)
        return torch.device("cpu")

    monkeypatch.setattr(check, "choose_device", choose)
    schemes: tuple[QuantizationName, ...] = ("none", "int8")
    for quantization in schemes:
        config = EngineConfig(dtype="float32", quantization=quantization, cpu_runtime="torch")
        engine = EngineThread.load(CHECKPOINTS["llada-tiny"], config)
        engine.close()
        assert engine.memory_need is not None
        assert asked.pop() == engine.memory_bytes + engine.memory_need.one.all


def test_a_large_model_says_once_in_which_form_it_is_loaded_and_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(devices, "LARGE_MODEL", 1000)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    auto, exact = EngineConfig(device="cpu"), EngineConfig(device="cpu", dtype="float32", quantization="none")
    with caplog.at_level("INFO", logger="app.engine.thread"):
        engine = EngineThread.load(CHECKPOINTS["llada-tiny"], auto)
        engine.close()
        (said,) = caplog.messages
        EngineThread.load(CHECKPOINTS["llada-tiny"], exact).close()
    assert said.startswith("llada-tiny is loaded on cpu as bfloat16: ")
    assert said.endswith(" weights, on a CPU with units for bfloat16")
    assert caplog.messages == [said], "settings that leave no choice need no reason"
    assert (engine.dtype, engine.quantization) == ("bfloat16", "none")
    named = EngineConfig(device="cpu", dtype="bfloat16", quantization="none")
    assert engine.in_effect(auto) == engine.in_effect(named) != engine.in_effect(exact)


def test_weights_that_auto_has_quantised_are_loaded_as_auto_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "LARGE_MODEL", 1000)
    smallest = Estimate.of(CHECKPOINTS["llada-tiny"], EngineConfig(quantization="int8"), Demand()).need(CPU)
    room = DeviceMemory(0, smallest.least + smallest.weights.mapped)
    monkeypatch.setattr(check, "device_memory", lambda device: room)
    auto = EngineConfig(device="cpu", cpu_runtime="torch")
    engine = EngineThread.load(CHECKPOINTS["llada-tiny"], auto)
    engine.close()
    assert (engine.quantization, engine.memory_need) == ("int8", smallest)
    assert engine.in_effect(auto).quantization == "int8"
    assert engine.in_effect(EngineConfig(quantization="none")).quantization == "none"


def test_a_checkpoint_without_room_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread, "load_model", lambda *_: pytest.fail("it was read"))
    monkeypatch.setattr(check, "device_memory", lambda device: DeviceMemory(9_000_000, 10_000_000))
    before = threading.active_count()
    with pytest.raises(OutOfDeviceMemory, match=r"llada-tiny needs .* 1 MB of 10 MB are free on cpu"):
        EngineThread.load(CHECKPOINTS["llada-tiny"], EngineConfig(device="cpu"))
    assert threading.active_count() == before


def test_a_folder_without_a_checkpoint_starts_no_thread(tmp_path: Any) -> None:
    before = threading.active_count()
    with pytest.raises(CheckpointError):
        EngineThread.load(tmp_path, EngineConfig())
    assert threading.active_count() == before


# -- refusals ---------------------------------------------------------------------------------------------------------


def test_a_request_that_the_checkpoint_cannot_run_is_refused_at_once(start: Start) -> None:
    listener = Listener()
    with pytest.raises(InvalidRequest, match="expand_budget=3 has no meaning for llada models"):
        start().submit(request_of("a", expand_budget=3), listener)
    assert listener.events == []


def test_a_full_queue_refuses(start: Start) -> None:
    engine, gate, refused = start(max_running=1, max_waiting=2), Gate(), Listener()
    engine.submit(request_of("running"), gate)
    assert gate.reached.wait(PATIENCE_S)
    waiting = [submit(engine, request_of(name)) for name in "ab"]
    with pytest.raises(QueueFull, match="2 requests are waiting"):
        engine.submit(request_of("c"), refused)
    gate.opened.set()
    assert [listener.wait()[0] for listener in waiting] == [Admitted(name, "cpu", 0) for name in "ab"]
    assert submit(engine, request_of("d")).wait()
    assert refused.events == []


# -- cancellation -----------------------------------------------------------------------------------------------------


def test_an_abort_takes_effect_before_the_next_step(start: Start) -> None:
    engine = start()
    sent = Listener(on=lambda event: engine.abort("a") if isinstance(event, Step) else None)
    engine.submit(replace(request_of("a", 9), snapshots=True), sent)
    assert sent.wait()[-1] == Cancelled("a", nfe=1)
    assert [type(event).__name__ for event in sent.events] == ["Admitted", "Step", "Cancelled"]


def test_the_room_of_a_cancelled_request_is_free(start: Start) -> None:
    engine, gate = start(max_running=1), Gate()
    engine.submit(request_of("a", 9), gate)
    assert gate.reached.wait(PATIENCE_S)
    second = submit(engine, request_of("b"))
    engine.abort("a")
    gate.opened.set()
    assert isinstance(second.wait()[-1], Finished)
    end = gate.wait()[-1]
    assert isinstance(end, Cancelled)
    assert end.nfe <= 1


def test_a_request_may_be_aborted_before_it_was_taken_in(start: Start) -> None:
    engine, gate = start(), Gate()
    engine.submit(request_of("a"), gate)
    assert gate.reached.wait(PATIENCE_S)
    quick = submit(engine, request_of("quick"))
    engine.abort("quick")
    gate.opened.set()
    assert quick.wait() == [Cancelled("quick", nfe=0)]


def test_every_request_ends_exactly_once_whatever_is_cancelled(start: Start, llada: ModelRunner) -> None:
    engine = start(max_running=5)
    listeners = {}
    for request in mixed_requests(llada.model.config, seed=31, count=24):
        listeners[request.request_id] = submit(engine, request)
        if len(listeners) % 3 == 0:
            engine.abort(f"request {len(listeners) // 2}")
            engine.abort(f"request {len(listeners) // 2}")
    for listener in listeners.values():
        listener.wait()
    engine.close()
    for listener in listeners.values():
        assert listener.kinds in (["Admitted", "Finished"], ["Admitted", "Cancelled"], ["Cancelled"])


# -- defects ----------------------------------------------------------------------------------------------------------


def fail_next_steps(monkeypatch: pytest.MonkeyPatch, *errors: Exception | None) -> None:
    """The next forward passes raise, but for those with `None`, and the later ones work."""
    to_raise, intact = list(errors), ModelRunner.run

    def run(self: ModelRunner, works: Any) -> Any:
        error = to_raise.pop(0) if to_raise else None
        if error is not None:
            raise error
        return intact(self, works)

    monkeypatch.setattr(ModelRunner, "run", run)


def test_a_pass_that_raises_fails_its_requests_and_the_thread_goes_on(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fail_next_steps(monkeypatch, RuntimeError("the cable was pulled"))
    engine, gate = start(), Gate()
    engine.submit(request_of("a"), gate)
    assert gate.reached.wait(PATIENCE_S)
    gate.opened.set()
    assert isinstance(gate.error, EngineStopped)
    assert "RuntimeError: the cable was pulled" in str(gate.error)
    assert "its requests are ended: a" in caplog.text
    assert isinstance(submit(engine, request_of("b")).wait()[-1], Finished)
    assert gate.kinds == ["Admitted", "Failed"]


def submit_behind_a_gate(engine: EngineThread, names: Sequence[str]) -> list[Listener]:
    """The first of these requests runs, and the others wait for the end of those before them."""
    gate = Gate()
    engine.submit(request_of(names[0]), gate)
    assert gate.reached.wait(PATIENCE_S)
    waiting = [submit(engine, request_of(name)) for name in names[1:]]
    gate.opened.set()
    return [gate, *waiting]


def test_a_step_that_fails_leaves_those_that_wait_alone(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_next_steps(monkeypatch, None, ValueError("a defect"))  # the others are in the queue by the second step
    running, *waiting = submit_behind_a_gate(start(max_running=1), "abc")
    assert "ValueError: a defect" in str(running.error)
    assert [type(listener.wait()[-1]) for listener in waiting] == [Finished, Finished]


def test_the_error_of_a_failed_step_holds_nothing_of_the_step(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_next_steps(monkeypatch, InvalidRequest("a defect", field="steps"))
    error = submit(start(), request_of("a")).error
    assert isinstance(error, InvalidRequest)
    assert (str(error), error.field, error.__traceback__) == ("a defect", "steps", None)


def test_an_admission_that_raises_ends_the_request_that_was_to_begin(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    intact = Recovery.place

    def place(self: Recovery, request_id: str, *needs: Any) -> bool:
        if request_id == "broken":
            raise ZeroDivisionError("a defect")
        return intact(self, request_id, *needs)

    monkeypatch.setattr(Recovery, "place", place)
    engine = start(max_running=1)
    listeners = dict(zip(("a", "broken", "b"), submit_behind_a_gate(engine, ["a", "broken", "b"]), strict=True))
    assert "ZeroDivisionError: a defect" in str(listeners["broken"].error)
    assert "its requests are ended: broken" in caplog.text
    assert [type(listeners[name].wait()[-1]) for name in "ab"] == [Finished, Finished]


def test_an_engine_that_gives_up_ends_those_that_wait_too_and_each_once(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_next_steps(monkeypatch, *(RuntimeError("it stays broken") for _ in range(MAX_FAILURES_IN_A_ROW)))
    engine = start(max_running=1)
    names = [str(number) for number in range(MAX_FAILURES_IN_A_ROW + 2)]
    listeners = submit_behind_a_gate(engine, names)
    errors = [str(listener.error) for listener in listeners]
    engine.close()
    assert ["its engine has stopped" in error for error in errors] == [False] * MAX_FAILURES_IN_A_ROW + [True] * 2
    assert [listener.kinds.count("Failed") for listener in listeners] == [1] * len(listeners)


def test_a_step_that_fits_nowhere_is_out_of_memory(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_next_steps(monkeypatch, OutOfDeviceMemory("no room"), OutOfDeviceMemory("still no room"))
    engine = start()
    error = submit(engine, request_of("a")).error
    assert isinstance(error, OutOfDeviceMemory)
    assert "still no room" in str(error)
    assert engine.counters.num_out_of_memory == 2
    assert isinstance(submit(engine, request_of("b")).wait()[-1], Finished)


def test_a_thread_whose_steps_fail_one_after_the_other_gives_up(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_next_steps(monkeypatch, *(RuntimeError("the device is broken") for _ in range(MAX_FAILURES_IN_A_ROW)))
    engine = start()
    for number in range(MAX_FAILURES_IN_A_ROW):
        assert "the device is broken" in str(submit(engine, request_of(str(number))).error)
    engine.close()
    assert not engine.is_alive()
    assert engine.problem == "its engine has stopped: RuntimeError: the device is broken"
    with pytest.raises(EngineStopped, match="the device is broken"):
        engine.submit(request_of("late"), Listener())


ASSERT = "CUDA error: device-side assert triggered\nCUDA kernel errors might be reported at some other API call"


def test_a_broken_device_ends_the_engine_at_once_and_says_what_to_do(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_next_steps(monkeypatch, RuntimeError(ASSERT))
    engine, gate = start(max_running=1), Gate()
    engine.submit(request_of("running"), gate)
    assert gate.reached.wait(PATIENCE_S)
    waiting = submit(engine, request_of("waiting"))
    gate.opened.set()
    for listener in (gate, waiting):
        assert isinstance(listener.error, EngineStopped)
    engine.close()
    assert engine.counters.num_out_of_memory == 0
    assert engine.problem == (
        "its engine has stopped: DeviceBroken: cpu is broken for this process: CUDA error: device-side assert "
        "triggered; restart the server to use the device again"
    )


@pytest.mark.parametrize("preference", ["auto", "mps"])
def test_weights_that_meet_a_broken_device_are_loaded_elsewhere_only_by_auto(
    preference: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(folder: Path, device: torch.device, *how: Any) -> FamilyModel:
        if device.type != "cpu":
            raise RuntimeError(ASSERT)
        return load_model(folder, device, *how)

    monkeypatch.setattr(thread, "load_model", broken)
    monkeypatch.setattr(thread, "preferred_device", lambda estimate: torch.device("mps"))
    config = EngineConfig(device=preference)
    if preference == "auto":
        engine = EngineThread.load(CHECKPOINTS["llada-tiny"], config)
        engine.close()
        assert engine.device == "cpu"
    else:
        with pytest.raises(DeviceBroken, match="mps is broken for this process: CUDA error: device-side assert"):
            EngineThread.load(CHECKPOINTS["llada-tiny"], config)


def test_a_library_whose_errors_have_no_common_type_may_be_short_of_memory(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    intact, to_raise = ModelRunner.logits, [OrtError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : std::bad_alloc")]

    def logits(self: ModelRunner, sequences: Any) -> Any:
        if to_raise:
            raise to_raise.pop()
        return intact(self, sequences)

    monkeypatch.setattr(ModelRunner, "logits", logits)
    engine = start()
    assert isinstance(submit(engine, request_of("a")).wait()[-1], Finished)
    assert engine.counters.num_out_of_memory == 1


def test_a_thread_that_dies_fails_all_its_requests_at_once(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(_: object) -> None:
        raise SystemExit("pulled out of the rack")

    engine, gate = start(max_running=1), Gate()
    engine.submit(request_of("running", 9), gate)
    assert gate.reached.wait(PATIENCE_S)
    waiting = submit(engine, request_of("waiting"))
    monkeypatch.setattr(Engine, "step", die)
    gate.opened.set()
    for listener in (gate, waiting):
        assert "pulled out of the rack" in str(listener.error)
    assert (gate.kinds, waiting.kinds) == (["Admitted", "Failed"], ["Failed"])
    assert engine.problem is not None


def deaf(event: EngineEvent) -> None:
    raise RuntimeError("the listener is gone")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_listener_that_raises_does_not_end_the_engine(start: Start) -> None:
    engine = start()
    engine.submit(request_of("deaf"), Listener(on=deaf))
    engine.submit(request_of("deaf and cancelled"), Listener(on=deaf))
    engine.abort("deaf and cancelled")
    assert isinstance(submit(engine, request_of("b")).wait()[-1], Finished)


# -- the end ----------------------------------------------------------------------------------------------------------


def test_close_fails_what_is_unfinished(start: Start) -> None:
    engine, gate = start(max_running=1), Gate()
    engine.submit(request_of("running", 9), gate)
    assert gate.reached.wait(PATIENCE_S)
    waiting = submit(engine, request_of("waiting"))
    closing = threading.Thread(target=engine.close)
    closing.start()
    gate.opened.set()
    closing.join(PATIENCE_S)
    assert not engine.is_alive()
    for listener in (gate, waiting):
        assert isinstance(listener.error, EngineStopped)
        assert "closed before the request was finished" in str(listener.error)
    assert (gate.kinds, waiting.kinds) == (["Admitted", "Failed"], ["Failed"])


def test_a_closed_engine_refuses_and_sends_nothing(start: Start) -> None:
    engine, listener = start(), Listener()
    engine.close()
    engine.close()
    with pytest.raises(EngineStopped, match="closed"):
        engine.submit(request_of("a"), listener)
    engine.abort("a")
    assert listener.events == []


def test_a_listener_may_close_the_engine(start: Start) -> None:
    engine = start()
    listener = Listener(on=lambda event: engine.close() if isinstance(event, Step) else None)
    engine.submit(request_of("a", 9), listener)
    assert "closed before the request was finished" in str(listener.error)
