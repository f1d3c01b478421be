"""The life of one request in the engine, whatever it asks for: its status, its events, and its next pass."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import Enum

from app.engine.decoding.step import Prediction
from app.engine.device.memory import Need
from app.engine.interface.errors import EngineStopped, LogitsNotFinite
from app.engine.interface.events import EngineEvent, Finished
from app.engine.interface.params import EngineRequest
from app.engine.passes.work import Work

log = logging.getLogger(__name__)

OnEvent = Callable[[EngineEvent], None]


class Status(Enum):
    """The stages of a request's life; `_TRANSITIONS` says which may follow which."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    FAILED = "failed"


_ENDS = {Status.CANCELLED, Status.FAILED}
_TRANSITIONS = {
    Status.WAITING: {Status.RUNNING} | _ENDS,
    Status.RUNNING: {Status.FINISHED} | _ENDS,
    Status.FINISHED: set(),
    Status.CANCELLED: set(),
    Status.FAILED: set(),
}


class RequestLife(ABC):
    """Created on the caller's thread, from then on touched by the engine thread only."""

    request: EngineRequest
    work: Work
    """The work for the next engine step, while the request is running."""
    num_truncated = 0
    """Tokens of the given text that the model does not see."""

    def __init__(self, on_event: OnEvent) -> None:
        self._on_event = on_event
        self.status = Status.WAITING
        self.nfe = 0

    @property
    def cache_names(self) -> tuple[str, ...]:
        """Names under which keys and values may be cached."""
        return ()

    @property
    @abstractmethod
    def max_tokens(self) -> int:
        """Tokens in one forward pass at most."""

    @property
    @abstractmethod
    def max_rows(self) -> int:
        """Rows of logits in one forward pass at most."""

    @property
    @abstractmethod
    def need(self) -> Need:
        """Memory that it may take of a device beside the weights, and the part of it that it holds already."""

    @abstractmethod
    def start(self) -> None:
        """Begins to run, and plans the first step."""

    @abstractmethod
    def advance(self, predicted: Prediction) -> None:
        """Takes in the predictions for `work`, sends what is new, and plans the next step; where there is none, the
        request is finished.

        Raises:
            LogitsNotFinite: nothing can be predicted from what the model gave; the request has not changed.
            EngineStopped: a defect came between the model and the prediction; the request has not changed.
        """

    @abstractmethod
    def finished_event(self, device: str) -> Finished:
        """Gives the event that says why and after how much the request is complete."""

    def move_to(self, status: Status) -> None:
        """Every request ends exactly once; a second end is a defect of the engine."""
        assert status in _TRANSITIONS[self.status], f"{self.status} -> {status}"
        self.status = status

    def send(self, event: EngineEvent) -> None:
        """Sends an event. A listener that raises misses it; the engine has others to serve."""
        try:
            self._on_event(event)
        except Exception:
            name = self.request.request_id
            log.exception("the listener of request %s failed", name, extra={"request_id": name})

    def _count(self, predicted: Prediction) -> None:
        """Counts a pass. Raises what `advance` does."""
        if predicted.num_broken:
            raise LogitsNotFinite(
                f"in step {self.nfe + 1} the model's logits are not finite (NaN or infinity), rows: "
                f"{predicted.num_broken}. Its weights may be damaged, or their arithmetic too narrow: check the "
                "checkpoint, or load it in float32"
            )
        if predicted.failure:
            raise EngineStopped(f"decoding failed: {predicted.failure}")
        self.nfe += 1
