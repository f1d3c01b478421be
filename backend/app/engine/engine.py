"""The engine: requests in, steps, events out. Knows token ids only; one thread may use it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from app.engine.config import EngineConfig
from app.engine.errors import EngineError, EngineStopped
from app.engine.events import Admitted, Cancelled, Failed
from app.engine.request import RequestState, Status
from app.engine.runner import ModelRunner
from app.engine.scheduler import Scheduler


class Engine:
    """Denoises any mixture of requests together, one step of each per engine step."""

    def __init__(self, runner: ModelRunner, config: EngineConfig) -> None:
        self.runner = runner
        self.scheduler: Scheduler[RequestState] = Scheduler(config, runner.bytes_per_row)

    @property
    def has_work(self) -> bool:
        return bool(self.scheduler.running or self.scheduler.waiting)

    def add(self, state: RequestState) -> None:
        """Puts a request in the queue.

        Raises:
            QueueFull: no room; the request has not begun and no event was sent.
        """
        self.scheduler.add(state)

    def step(self) -> None:
        """Admits what fits, runs one forward pass for all running requests, commits, and tells what is new.

        Raises:
            OutOfDeviceMemory: the pass did not fit; no request has changed.
        """
        self.admit()
        running = list(self.scheduler.running)
        works = [state.work for state in running if state.work is not None]
        if not works:
            return
        for state, predicted in zip(running, self.runner.run(works), strict=True):
            self._isolated(state, partial(state.advance, predicted))

    def abort(self, request_id: str) -> None:
        """Ends a request with `Cancelled` and frees its place. Nothing happens if it is over already."""
        state = self.scheduler.find(lambda state: state.request.request_id == request_id)
        if state is not None:
            self.scheduler.remove(state)
            state.move_to(Status.CANCELLED)
            state.tell(Cancelled(request_id, state.nfe))

    def fail_all(self, error: EngineError) -> None:
        """Ends every request with `Failed`."""
        for state in [*self.scheduler.running, *self.scheduler.waiting]:
            self._fail(state, error)

    def admit(self) -> None:
        """Lets waiting requests into the batch as far as they fit; `step` does this by itself."""
        for state in self.scheduler.admit():
            state.move_to(Status.RUNNING)
            state.tell(Admitted(state.request.request_id, str(self.runner.device), state.num_truncated))
            self._isolated(state, state.start)

    def _isolated(self, state: RequestState, move: Callable[[], None]) -> None:
        """Lets one request make its move; a defect there must not end its neighbours."""
        try:
            move()
        except Exception as error:
            failure = EngineStopped(f"decoding failed: {type(error).__name__}: {error}")
            failure.__cause__ = error
            self._fail(state, failure)
            return
        self._release_if_over(state)

    def _release_if_over(self, state: RequestState) -> None:
        if state.work is None:
            self.scheduler.remove(state)
            state.move_to(Status.FINISHED)
            state.tell(state.finished_event())

    def _fail(self, state: RequestState, error: EngineError) -> None:
        self.scheduler.remove(state)
        state.move_to(Status.FAILED)
        state.tell(Failed(state.request.request_id, error, state.nfe))
