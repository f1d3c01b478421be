"""The choice of requests that run: first come, first served, as many as fit; tested without a model."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from app.engine.interface.config import EngineConfig
from app.engine.interface.errors import QueueFull


class Schedulable(Protocol):
    """A request, as far as admission needs to know it."""

    @property
    def max_tokens(self) -> int:
        """Tokens in one forward pass at most."""
        ...

    @property
    def max_rows(self) -> int:
        """Rows of logits in one forward pass at most."""
        ...


R = TypeVar("R", bound=Schedulable)


class Scheduler(Generic[R]):
    """Iteration-level scheduling (Orca, OSDI 2022): requests join and leave between any two steps.

    A request is admitted when the tokens and logits that it may ever need fit beside those of the running ones. The
    first in line is never overtaken, and one that exceeds the whole budget runs alone, so nobody starves.
    """

    def __init__(self, config: EngineConfig, bytes_per_row: int) -> None:
        self.waiting: deque[R] = deque()
        self.running: list[R] = []
        self._config = config
        self._bytes_per_row = bytes_per_row

    def add(self, request: R) -> None:
        """Joins the queue.

        Raises:
            QueueFull: `max_waiting` requests wait already.
        """
        if len(self.waiting) >= self._config.max_waiting:
            raise QueueFull(f"{len(self.waiting)} requests are waiting, and no more may; try again later")
        self.waiting.append(request)

    def next(self) -> R | None:
        """The first in line, if it fits beside the running ones."""
        return self.waiting[0] if self.waiting and self._fits(self.waiting[0]) else None

    def begin(self, request: R) -> None:
        """Moves a request from the queue into the batch, for whose room those after it are judged from then on."""
        self.waiting.remove(request)
        self.running.append(request)

    def _fits(self, candidate: R) -> bool:
        if not self.running:
            return True
        together = [*self.running, candidate]
        num_tokens = sum(request.max_tokens for request in together)
        logits_bytes = sum(request.max_rows for request in together) * self._bytes_per_row
        return (
            len(together) <= self._config.max_running
            and num_tokens <= self._config.max_batch_tokens
            and logits_bytes <= self._config.max_logits_bytes
        )

    def remove(self, request: R) -> None:
        """Leaves the queue or the batch; its room is free at once."""
        if request in self.running:
            self.running.remove(request)
        else:
            self.waiting.remove(request)

    def find(self, matches: Callable[[R], bool]) -> R | None:
        """The first request, running or waiting, that `matches`."""
        return next((request for request in [*self.running, *self.waiting] if matches(request)), None)
