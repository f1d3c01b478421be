"""A cluster in one process: what Ray's handles look like to whoever calls them."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Self

from ray.exceptions import RayError
from ray.serve._private.common import RequestMetadata
from ray.serve.handle import DeploymentResponseGenerator

from app.ray.board import Board


class Method:
    """A method of an actor or of a deployment."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    async def remote(self, *arguments: Any) -> Any:
        result = self._call(*arguments)
        return await result if inspect.isawaitable(result) else result


class FakeBoard:
    """A handle of a board that is really here; `answers` are those of replicas that are not."""

    def __init__(self) -> None:
        self.board = Board()
        self.answers: dict[tuple[str, str], list[Any]] = {}
        self.asked: list[tuple[str, str]] = []

    async def ask_nobody(self, group: str, method: str, timeout_s: float) -> list[Any]:
        self.asked.append((group, method))
        return self.answers.get((group, method), [])

    def __getattr__(self, name: str) -> Method:
        return Method(self.ask_nobody if name == "ask" else getattr(self.board, name))


class FakeReplicaResult:
    """The result of a replica that has accepted a call: batches, then an error or the end.

    A batch that is `None` never comes.
    """

    def __init__(self, batches: list[Any], error: BaseException | None, cancel_error: Exception | None = None) -> None:
        self._batches = deque(batches)
        self._cancel_error = cancel_error
        self._end = error or StopAsyncIteration()
        self.is_cancelled = False

    async def __anext__(self) -> Any:
        if not self._batches:
            raise self._end
        if self._batches[0] is None:
            await asyncio.sleep(60)
        return self._batches.popleft()

    def cancel(self) -> None:
        self.is_cancelled = True
        if self._cancel_error is not None:
            raise self._cancel_error


def response(result: FakeReplicaResult | BaseException) -> DeploymentResponseGenerator[Any]:
    """Serve's own, of a call that was assigned to a replica or could not be."""
    assignment: Future[Any] = Future()
    if isinstance(result, BaseException):
        assignment.set_exception(result)
    else:
        assignment.set_result(result)
    return DeploymentResponseGenerator(assignment, RequestMetadata("id", "id", is_streaming=True))


@dataclass
class FakeHandle:
    """A deployment whose replicas say what a test wants.

    Attributes:
        error: what a replica raises after its batches.
        assignment_error: why no replica takes a call.
        call_error: why there can be no call.
        cancel_error: what cancelling a call raises.
        consulted: what a replica says of its tokenizer; an exception of Ray's is raised.
        on_check: called when a replica is asked whether it can take a request.
    """

    batches: list[Any] = field(default_factory=list)
    error: BaseException | None = None
    cancel_error: Exception | None = None
    assignment_error: BaseException | None = None
    call_error: Exception | None = None
    refusal: str | Exception | None = None
    consulted: Any = None
    results: list[FakeReplicaResult] = field(default_factory=list)
    request_ids: list[str] = field(default_factory=list)
    on_check: Callable[[], None] = lambda: None

    def options(self, *, stream: bool) -> Self:
        assert stream
        return self

    @property
    def answer(self) -> Self:
        return self

    @property
    def check(self) -> Method:
        return Method(self._check)

    @property
    def consult(self) -> Method:
        return Method(self._consult)

    def remote(self, params: Any, request_id: str) -> DeploymentResponseGenerator[Any]:
        self.request_ids.append(request_id)
        if self.call_error is not None:
            raise self.call_error
        if self.assignment_error is not None:
            return response(self.assignment_error)
        self.results.append(FakeReplicaResult(self.batches, self.error, self.cancel_error))
        return response(self.results[-1])

    def _check(self, params: Any) -> str | None:
        self.on_check()
        if isinstance(self.refusal, Exception):
            raise self.refusal
        return self.refusal

    def _consult(self, method: str, *arguments: Any) -> Any:
        if isinstance(self.consulted, RayError):
            raise self.consulted
        return self.consulted
