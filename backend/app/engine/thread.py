"""The one thread that owns a loaded model. Everyone else sends it messages."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from pathlib import Path

from app.engine.config import EngineConfig
from app.engine.decoding.policy import algorithms
from app.engine.devices import choose_device, choose_dtype
from app.engine.engine import Engine
from app.engine.errors import EngineError, EngineStopped, QueueFull
from app.engine.models.base import FamilyModel
from app.engine.models.checkpoint import load_model
from app.engine.params import GenerationRequest
from app.engine.request import OnEvent, RequestState
from app.engine.runner import ModelRunner

log = logging.getLogger(__name__)


class EngineThread:
    """Single-owner background loop: steps the engine while there is work, sleeps while there is none.

    `submit`, `abort`, `is_alive` and `close` may be called from any thread. Events are sent from the engine thread:
    a handler must be quick and must not block.
    """

    def __init__(self, model: FamilyModel, config: EngineConfig) -> None:
        self._engine = Engine(ModelRunner(model), config)
        self._config = config
        self._wake = threading.Condition()
        self._arrived: deque[RequestState] = deque()
        self._to_abort: deque[str] = deque()
        self._is_closing = False
        self.load_time_s = 0.0
        self._thread = threading.Thread(target=self._run, name=f"engine-{model.config.family}", daemon=True)
        self._thread.start()

    @classmethod
    def load(cls, folder: Path, config: EngineConfig) -> EngineThread:
        """Loads a checkpoint folder and starts its thread. Takes seconds, or minutes for a large checkpoint.

        Raises:
            CheckpointError: the folder is damaged, incomplete or of an unknown kind.
            OutOfDeviceMemory: the weights do not fit the device.
            EngineError: the device is not there.
        """
        started = time.perf_counter()
        device = choose_device(config.device, config.memory_threshold)
        model = load_model(folder, device, choose_dtype(config.dtype, device))
        engine_thread = cls(model, config)
        engine_thread.load_time_s = time.perf_counter() - started
        return engine_thread

    @property
    def model(self) -> FamilyModel:
        return self._engine.runner.model

    @property
    def device(self) -> str:
        return str(self._engine.runner.device)

    @property
    def dtype(self) -> str:
        return str(self._engine.runner.dtype).removeprefix("torch.")

    @property
    def memory_bytes(self) -> int:
        """Bytes of the weights."""
        return self._engine.runner.memory_bytes

    @property
    def algorithms(self) -> tuple[str, ...]:
        """What `DecodingParams.algorithm` may be; the first is the default."""
        return algorithms(self.model.config.family)

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def submit(self, request: GenerationRequest, on_event: OnEvent) -> None:
        """Hands a request over. `on_event` then gets Admitted, Steps, and exactly one of Finished, Cancelled, Failed.

        Raises:
            InvalidRequest: the checkpoint cannot run it.
            QueueFull: too many requests wait.
            EngineStopped: the engine has been closed.
        """
        state = RequestState(request, self.model.config, on_event)
        with self._wake:
            if self._is_closing:
                raise EngineStopped("the engine has been closed")
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

    def _run(self) -> None:
        while self._take_messages():
            try:
                self._engine.step()
            except Exception as error:
                log.exception("an engine step failed; its requests are ended")
                self._engine.fail_all(_as_engine_error(error))
        self._engine.fail_all(EngineStopped("the engine was closed before the request was finished"))

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


def _as_engine_error(error: Exception) -> EngineError:
    if isinstance(error, EngineError):
        return error
    return EngineStopped(f"an engine step failed: {type(error).__name__}: {error}")
