"""The engine: requests in, steps, events out. Knows token ids only; one thread may use it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from app.engine.device.devices import is_out_of_memory
from app.engine.device.memory import logits_budget
from app.engine.interface.config import EngineConfig
from app.engine.interface.errors import EngineError, EngineStopped, LogitsNotFinite, OutOfDeviceMemory
from app.engine.interface.events import Admitted, Cancelled, Failed
from app.engine.passes.runner import ModelRunner
from app.engine.recovery import Home, Recovery
from app.engine.request.life import RequestLife, Status
from app.engine.scheduler import Scheduler


class Engine:
    """Denoises any mixture of requests together, one step of each per engine step."""

    def __init__(self, runner: ModelRunner, config: EngineConfig, home: Home | None = None) -> None:
        self.recovery = Recovery(runner, config, home=home)
        budget = logits_budget(config.max_logits_bytes, runner.device_name)
        config = replace(config, max_logits_bytes=budget)
        self.scheduler: Scheduler[RequestLife] = Scheduler(config, runner.footprint.bytes_per_row)
        self._resting: dict[str, OutOfDeviceMemory] = {}
        """Running requests whose last pass fitted nowhere, and why."""

    @property
    def runner(self) -> ModelRunner:
        """The runner of new requests; another one after the model has moved."""
        return self.recovery.runner

    @property
    def has_work(self) -> bool:
        return bool(self.scheduler.running or self.scheduler.waiting)

    def add(self, state: RequestLife) -> None:
        """Puts a request in the queue.

        Raises:
            QueueFull: no room; the request has not begun and no event was sent.
        """
        self.scheduler.add(state)

    def step(self) -> None:
        """Admits what fits, runs one forward pass for all running requests, commits, and sends what is new.

        Where the pass does not fit the device, `Recovery` finds another way. A request that fits nowhere rests until
        another one has ended; where all rest, the one that came last fails.
        """
        self.admit()
        states = {state.request.request_id: state for state in self.scheduler.running}
        works = {name: state.work for name, state in states.items() if name not in self._resting}
        for name, outcome in self.recovery.run(works).items():
            if isinstance(outcome, OutOfDeviceMemory):
                self._resting[name] = outcome
            else:
                self._isolated(states[name], partial(states[name].advance, outcome))
        self._end_rest()

    def abort(self, request_id: str) -> None:
        """Ends a request with `Cancelled` and frees its room. Nothing happens if it is over already."""
        state = self.scheduler.find(lambda state: state.request.request_id == request_id)
        if state is not None:
            self._remove(state)
            state.move_to(Status.CANCELLED)
            state.send(Cancelled(request_id, state.nfe))

    @property
    def in_step(self) -> list[RequestLife]:
        """The requests that a step is about: those that run, or where none does the first in line, which it admits."""
        return self.scheduler.running[:] or [*self.scheduler.waiting][:1]

    def fail_step(self, error: EngineError) -> None:
        """Ends the requests that a step was about with `Failed`; those behind them wait on."""
        for state in self.in_step:
            self._fail(state, error)

    def fail_all(self, error: EngineError) -> None:
        """Ends every request with `Failed`."""
        for state in [*self.scheduler.running, *self.scheduler.waiting]:
            self._fail(state, error)

    def admit(self) -> None:
        """Lets waiting requests into the batch, one by one, as far as they fit; `step` calls it.

        Each is judged by those before it alone, and who waits for room is not overtaken.
        """
        while not self._resting and (state := self.scheduler.next()) is not None:
            running = {other.request.request_id: other.need for other in self.scheduler.running}
            try:
                begins = self.recovery.place(state.request.request_id, state.need, running)
            except OutOfDeviceMemory as error:
                self._fail(state, OutOfDeviceMemory(str(error)))  # the traceback of the old one holds the runner
                continue
            if not begins:
                return
            self.scheduler.begin(state)
            self._begin(state)

    def _begin(self, state: RequestLife) -> None:
        request_id = state.request.request_id
        state.send(Admitted(request_id, self.recovery.device_of(request_id), state.num_truncated))
        self._isolated(state, state.start)

    def _end_rest(self) -> None:
        """Fails the request that came last where none can go on, to make room for those before it."""
        names = [state.request.request_id for state in self.scheduler.running]
        if names and self._resting.keys() >= {*names}:
            self._fail(self.scheduler.running[-1], self._resting[names[-1]])

    def _remove(self, state: RequestLife) -> None:
        """Its room is free, so those that rest try again."""
        self.scheduler.remove(state)
        self.recovery.forget(state.request.request_id, state.cache_names)
        self._resting.clear()

    def _isolated(self, state: RequestLife, move: Callable[[], None]) -> None:
        """Lets one request make its move; a defect there must not end its neighbours."""
        try:
            move()
        except Exception as error:
            self.recovery.counters.num_not_finite += isinstance(error, LogitsNotFinite)
            self._fail(state, _as_engine_error(error))
            return
        self._release_if_over(state)

    def _release_if_over(self, state: RequestLife) -> None:
        if state.status is Status.FINISHED:
            request_id = state.request.request_id
            device = self.recovery.device_of(request_id)
            self._remove(state)
            state.send(state.finished_event(device))

    def _fail(self, state: RequestLife, error: EngineError) -> None:
        self._remove(state)
        state.move_to(Status.FAILED)
        state.send(Failed(state.request.request_id, error, state.nfe))


def _as_engine_error(error: Exception) -> EngineError:
    if isinstance(error, EngineError):
        return error
    kind = OutOfDeviceMemory if is_out_of_memory(error) else EngineStopped
    failure = kind(f"decoding failed: {type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure
