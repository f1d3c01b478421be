"""The one thread that owns a loaded model. Everyone else sends it messages."""

from __future__ import annotations

import copy
import logging
import threading
import time
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch

from app.engine.device.devices import choose_dtype, first_line, home_device, is_broken
from app.engine.device.memory import free_caches
from app.engine.engine import Engine
from app.engine.families.adapter import load_adapter
from app.engine.families.checkpoint import load_model
from app.engine.families.registry import family_named
from app.engine.interface.config import DEFAULT_DEMAND, Demand, DTypeName, EngineConfig, QuantizationName, RuntimeName
from app.engine.interface.counters import EngineCounters
from app.engine.interface.errors import (
    DeviceBroken,
    EngineError,
    EngineStopped,
    InvalidRequest,
    OutOfDeviceMemory,
    QueueFull,
)
from app.engine.interface.params import EngineRequest, ReadRequest
from app.engine.models.adapters import Adapter
from app.engine.models.base import FamilyModel
from app.engine.models.quantisation import num_weights, quantization_of
from app.engine.passes.runner import ModelRunner
from app.engine.recovery import CPU, Home
from app.engine.request.life import OnEvent, RequestLife
from app.engine.request.read import ReadState
from app.engine.request.state import RequestState
from app.engine.room.check import check_room, form_in_words, preferred_device
from app.engine.room.choice import why
from app.engine.room.estimate import Estimate, MemoryNeed

MAX_FAILURES_IN_A_ROW = 3
"""Steps that may fail one after the other before the thread gives up: a device that is broken stays broken."""

log = logging.getLogger(__name__)


class EngineThread:
    """Single-owner background loop: steps the engine while there is work, sleeps while there is none.

    `submit`, `abort`, `is_alive` and `close` may be called from any thread. Events are sent from the engine thread:
    a handler must be quick and must not block.
    """

    def __init__(self, model: FamilyModel, config: EngineConfig, home: Home | None = None) -> None:
        self._engine = Engine(ModelRunner(model, cpu_runtime=config.cpu_runtime), config, home)
        self._config = config
        self._adapters: dict[str, Adapter] = {}
        self._wake = threading.Condition()
        self._arrived: deque[RequestLife] = deque()
        self._to_abort: deque[str] = deque()
        self._is_closing = False
        self._num_failures_in_a_row = 0
        self.load_time_s = 0.0
        self.memory_need: MemoryNeed | None = None
        """The memory that it was to take where it was loaded; `None` where nobody asked before."""
        self.problem: str | None = None
        """Why the thread has ended, where it was not asked to."""
        self._thread = threading.Thread(target=self._run, name=f"engine-{model.config.family}", daemon=True)
        self._thread.start()

    @classmethod
    def load(cls, folder: Path, config: EngineConfig, demand: Demand = DEFAULT_DEMAND) -> EngineThread:
        """Loads a checkpoint folder and starts its thread. Takes seconds, or minutes for a large checkpoint.

        Raises:
            CheckpointError: the folder is damaged, incomplete or of an unknown kind.
            OutOfDeviceMemory: the weights and a request do not fit the device, which is found before they are loaded.
            EngineError: the device is not there.
        """
        started = time.perf_counter()
        estimate = Estimate.of(folder, config, demand)
        with _LOADING:
            model, need = _load_where_there_is_room(folder, estimate)
        engine_thread = cls(model, config, _home_of(model, estimate))
        engine_thread.memory_need = need
        engine_thread.load_time_s = time.perf_counter() - started
        return engine_thread

    @property
    def model(self) -> FamilyModel:
        return self._engine.runner.model

    @property
    def device(self) -> str:
        return self._engine.runner.device_name

    @property
    def dtype(self) -> str:
        return str(self._engine.runner.dtype).removeprefix("torch.")

    @property
    def quantization(self) -> QuantizationName:
        return quantization_of(self.model)

    @property
    def memory_bytes(self) -> int:
        """Bytes of the weights."""
        return self._engine.runner.memory_bytes

    @property
    def counters(self) -> EngineCounters:
        return self._engine.recovery.counters

    @property
    def algorithms(self) -> tuple[str, ...]:
        """The values of `DecodingParams.algorithm`; the first is the default."""
        return family_named(self.model.config.family).algorithms

    def in_effect(self, config: EngineConfig) -> EngineConfig:
        """The configuration with its choices made for this model: equal for all by which it would be loaded alike."""
        runner = self._engine.runner
        device = "cpu" if config.device == "auto" and not torch.cuda.is_available() else config.device
        runtime: RuntimeName = config.cpu_runtime
        if runner.device.type != "cpu":
            runtime = "auto"
        elif runtime == "auto":
            runtime = "onnx" if runner.is_graphed else "torch"
        return replace(
            config,
            device="cuda:0" if device == "cuda" else device,
            memory_threshold=config.memory_threshold if device == "auto" else 1.0,
            dtype=self._dtype_in_effect(config),
            quantization=self._quantization_in_effect(config),
            cpu_runtime=runtime,
        )

    def _dtype_in_effect(self, config: EngineConfig) -> DTypeName:
        if config.dtype == self._config.dtype == "auto":
            return cast(DTypeName, self.dtype)  # it may have hung on the memory that was free
        dtype = choose_dtype(config.dtype, self._engine.runner.device, num_weights(self.model))
        return cast(DTypeName, str(dtype).removeprefix("torch."))

    def _quantization_in_effect(self, config: EngineConfig) -> QuantizationName:
        if config.quantization != "auto":
            return config.quantization
        return self.quantization if self._config.quantization == "auto" else "none"

    def load_adapter(self, name: str, folder: Path) -> Adapter:
        """Reads the adapter in a folder; from then on requests may name it. It goes to the device with the first one.

        Raises:
            CheckpointError: the folder is damaged, not supported, or an adapter of another base.
        """
        adapter = load_adapter(folder, self.model.config, self._engine.runner.dtype)
        self._adapters[name] = adapter
        return adapter

    def remove_adapter(self, name: str) -> None:
        """Takes no more requests for an adapter; its memory is free when those that have it are over."""
        self._adapters.pop(name, None)

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def submit(self, request: EngineRequest, on_event: OnEvent) -> None:
        """Hands a request over. `on_event` then gets Admitted, Steps or CanvasesRead, and exactly one of Finished,
        Cancelled, Failed. Raises what `prepare` and `enter` raise."""
        self.enter(self.prepare(request, on_event))

    def prepare(self, request: EngineRequest, on_event: OnEvent) -> RequestLife:
        """Gives what `enter` takes. It takes a while for a constraint: any thread may do it, and nothing is left of it
        where it never enters.

        Raises:
            InvalidRequest: the checkpoint cannot run it, or there is no such adapter.
        """
        config, adapter = self.model.config, self._adapter_of(request)
        if isinstance(request, ReadRequest):
            return ReadState(request, config, on_event, adapter)
        return RequestState(request, config, on_event, adapter)

    def enter(self, state: RequestLife) -> None:
        """Hands over what has been prepared, once.

        Raises:
            QueueFull: too many requests wait.
            EngineStopped: the engine has been closed.
        """
        with self._wake:
            if self._is_closing:
                raise EngineStopped(self.problem or "the engine has been closed")
            num_waiting = len(self._arrived) + len(self._engine.scheduler.waiting)
            if num_waiting >= self._config.max_waiting:
                raise QueueFull(f"{num_waiting} requests are waiting, and no more may; try again later")
            self._arrived.append(state)
            self._wake.notify()

    def abort(self, request_id: str) -> None:
        """Ends a request before its next step. Nothing happens if it is over already."""
        with self._wake:
            self._to_abort.append(request_id)
            self._wake.notify()

    def close(self) -> None:
        """Stops after the current step; what is unfinished gets `Failed`. Waits for the thread."""
        with self._wake:
            self._is_closing = True
            self._wake.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _adapter_of(self, request: EngineRequest) -> Adapter | None:
        if request.adapter is None:
            return None
        adapter = self._adapters.get(request.adapter)
        if adapter is None:
            raise InvalidRequest(f"the engine has no adapter {request.adapter!r}", field="adapter")
        return adapter

    def _run(self) -> None:
        """Ends every request with `Failed` when it ends itself, however that comes."""
        reason = EngineStopped("the engine was closed before the request was finished")
        try:
            while self._take_messages():
                self._step()
        except BaseException as error:
            log.critical("the engine has stopped", exc_info=error)
            self.problem = f"its engine has stopped: {type(error).__name__}: {error}"
            reason = EngineStopped(self.problem)
        with self._wake:
            self._is_closing = True
            for state in self._arrived:
                self._engine.add(state)
            self._arrived.clear()
        self._engine.fail_all(reason)

    def _step(self) -> None:
        """One step that fails may be the fault of its requests; several in a row are not, nor is a broken device."""
        try:
            self._engine.step()
        except Exception as error:
            names = ", ".join(state.request.request_id for state in self._engine.in_step)
            log.exception("an engine step failed; its requests are ended: %s", names)
            if is_broken(error):
                raise _device_broken(self.device, error) from error
            self._engine.fail_step(_as_engine_error(error))
            self._num_failures_in_a_row += 1
            if self._num_failures_in_a_row >= MAX_FAILURES_IN_A_ROW:
                raise
        else:
            self._num_failures_in_a_row = 0

    def _take_messages(self) -> bool:
        """Waits for work if there is none, takes in arrivals and aborts. False when the engine is to stop."""
        with self._wake:
            while not (self._is_closing or self._arrived or self._to_abort or self._engine.has_work):
                self._wake.wait()
            arrived, to_abort = list(self._arrived), list(self._to_abort)
            self._arrived.clear()
            self._to_abort.clear()
            for state in arrived:
                self._engine.add(state)
            is_closing = self._is_closing
        for request_id in to_abort:
            self._engine.abort(request_id)
        return not is_closing


_LOADING = threading.Lock()
"""Checkpoints are loaded one at a time, or two would count on the same room."""


def _load_where_there_is_room(folder: Path, estimate: Estimate) -> tuple[FamilyModel, MemoryNeed]:
    """The model on the device of the configuration; `auto` takes the CPU if it does not fit the best device.

    Of the error only words are kept: its traceback holds the weights that have found room already.
    """
    device = preferred_device(estimate)
    must_be_there = estimate.config.device != "auto" or device.type == "cpu"
    try:
        return _load_on(device, folder, estimate)
    except OutOfDeviceMemory as error:
        if must_be_there:
            raise
        problem = str(error)
    except RuntimeError as error:
        if not is_broken(error):
            raise
        if must_be_there:
            raise _device_broken(str(device), error) from error
        problem = str(_device_broken(str(device), error))
    log.warning("%s; it is loaded on the CPU", problem)
    free_caches(device)
    return _load_on(CPU, folder, estimate)


def _load_on(device: torch.device, folder: Path, estimate: Estimate) -> tuple[FamilyModel, MemoryNeed]:
    need = check_room(estimate, device)
    if reason := why(estimate, device):
        log.info("%s is loaded on %s as %s: %s", estimate.name, device, form_in_words(need), reason)
    return load_model(folder, device, need.dtype, need.quantization), need


def _home_of(model: FamilyModel, estimate: Estimate) -> Home | None:
    """The home of weights that `auto` put on the CPU because others are in the way: those of the instance that they
    replace, say, which leave with its last request."""
    config = estimate.config
    if config.device != "auto" or next(model.parameters()).device.type != "cpu":
        return None
    device = home_device(config.memory_threshold, estimate.least_on_cuda)
    return None if device is None else Home(device, str(device), choose_dtype(config.dtype, device))


def _device_broken(device: str, error: Exception) -> DeviceBroken:
    return DeviceBroken(
        f"{device} is broken for this process: {first_line(error)}; restart the server to use the device again"
    )


def _as_engine_error(error: Exception) -> EngineError:
    """The error for the requests: a new one, for the traceback of the old one holds the tensors of the step."""
    if isinstance(error, EngineError):
        return copy.copy(error)
    return EngineStopped(f"an engine step failed: {type(error).__name__}: {error}")
