"""The object that `generate_stream` and `infill_stream` return: awaited it is the result, iterated the events."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from types import TracebackType
from typing import Any, Literal, TypeAlias

from app.services.diffusion.errors import GenerationCancelled, GenerationFailed, GenerationTimeout, ServiceError
from app.services.diffusion.mailbox import Mailbox
from app.services.diffusion.models import DiffusionStreamEvent, GenerationResult
from app.services.diffusion.public_words import public_message
from app.services.diffusion.requests.run import Run

Item: TypeAlias = DiffusionStreamEvent | ServiceError
Spawn: TypeAlias = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]

MAX_PENDING_EVENTS = 4096
"""Events that may wait for a slow reader before its model has to wait: more than the longest answer of a built-in
model has, so that these finish and free their place, however slow the reader is."""


class Generation:
    """One request, for one consumer: await it, or iterate it. Nothing happens before the first use.

    Awaited it gives the result, or raises a ServiceError. Iterated it gives the events, of which the last is
    `complete` or `error`; what goes wrong before the first event is raised instead. The result is a fold over the same
    events, so both ways give the same text.

    Whoever waits here and is cancelled, calls `aclose`, leaves the `async with` block or drops the object gives the
    request up: the model stops, and the place is free when `aclose` returns. (So wait for an event with a time limit by
    `asyncio.wait`, which cancels nothing, and not by `wait_for`.)
    """

    def __init__(self, run: Run, spawn: Spawn) -> None:
        self.request_id = run.request_id
        self._run = run
        self._spawn = spawn
        self._task: asyncio.Task[None] | None = None
        self._outbox: Mailbox[Item] | None = None
        self._consumer: Literal["awaiting", "iterating"] | None = None
        self._has_given_event = False
        self._is_over = False

    async def accepted(self) -> None:
        """Waits for the first event, without taking it.

        Raises:
            ServiceError: the request failed before it.
        """
        if self._has_given_event:
            return
        first = await self._next(take=False)
        if isinstance(first, ServiceError):
            raise first

    def progress(self) -> dict[str, int]:
        """The number of tokens by now: `prompt_tokens`, `truncated_prompt_tokens` of them not seen by the model,
        and `tokens_generated`. A reader that lags behind has seen less text."""
        return self._run.progress()

    def __await__(self) -> Generator[Any, None, GenerationResult]:
        return self._collect().__await__()

    def __aiter__(self) -> Generation:
        self._claim("iterating")
        return self

    async def __anext__(self) -> DiffusionStreamEvent:
        if self._consumer is None:
            self._claim("iterating")
        if self._is_over:
            raise StopAsyncIteration
        item = await self._next(take=True)
        if isinstance(item, ServiceError):
            self._is_over = True
            if not self._has_given_event:
                raise item
            return error_event(item, self.request_id)
        self._has_given_event = True
        self._is_over = item.type == "complete"
        return item

    async def aclose(self) -> None:
        """Gives the request up, and returns when its place is free. Without effect on one that is over."""
        self._is_over = True
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task})

    async def finish(self) -> None:
        """Takes the text so far for the answer, as if it had ended there, and returns when its place is free."""
        self._run.suffice()
        await self.aclose()

    async def __aenter__(self) -> Generation:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        task = self._task
        if task is not None and not task.done() and not task.get_loop().is_closed():
            task.get_loop().call_soon_threadsafe(task.cancel)

    async def _collect(self) -> GenerationResult:
        self._claim("awaiting")
        pieces: list[str] = []
        logprobs: list[Any] = []
        while True:
            item = await self._next(take=True)
            if isinstance(item, ServiceError):
                raise item
            if item.type == "token":
                pieces.append(item.data)
                logprobs += item.metadata.get("logprobs", ())
            elif item.type == "complete":
                return _result("".join(pieces), item.metadata | ({"logprobs": logprobs} if logprobs else {}))

    def _claim(self, consumer: Literal["awaiting", "iterating"]) -> None:
        if self._consumer is not None:
            raise RuntimeError(
                f"this generation has its consumer already (by {self._consumer}); each event is given once, so ask "
                "for a new generation, or keep the events"
            )
        self._consumer = consumer

    async def _next(self, *, take: bool) -> Item:
        if self._is_over:
            raise GenerationCancelled("this generation is closed; ask for a new one")
        outbox = self._outbox or self._begin()
        try:
            return await (outbox.get() if take else outbox.peek())
        except asyncio.CancelledError:
            await self.aclose()
            raise

    def _begin(self) -> Mailbox[Item]:
        self._outbox = Mailbox(MAX_PENDING_EVENTS, _newest_step_only)
        self._task = self._spawn(_carry_out(self._run, self._outbox))
        self._task.add_done_callback(partial(_send_other_ends, self._outbox))
        return self._outbox


async def _carry_out(run: Run, outbox: Mailbox[Item]) -> None:
    """The task behind a Generation. It does not know the Generation, so that dropping that one is noticed."""

    try:
        outbox.put(await run.execute(outbox.send))
    except ServiceError as error:
        outbox.put(error)


def _send_other_ends(outbox: Mailbox[Item], task: asyncio.Task[None]) -> None:
    """The ends that `_carry_out` cannot send: it was cancelled, maybe before its first line, or it has a defect."""
    if task.cancelled():
        outbox.put(GenerationCancelled("the request was given up"))
    elif task.exception() is not None:
        outbox.put(GenerationFailed("the request broke down; the server's log says why"))


def _newest_step_only(pending: deque[Item], item: Item) -> None:
    """A reader that lags behind gets the newest canvas and all of the text."""
    if _is_step(item):
        outdated = next((index for index, other in enumerate(pending) if _is_step(other)), None)
        if outdated is not None:
            del pending[outdated]
    pending.append(item)


def _is_step(item: Item) -> bool:
    return isinstance(item, DiffusionStreamEvent) and item.type == "step"


def _result(text: str, metadata: dict[str, Any]) -> GenerationResult:
    return GenerationResult(
        text=text,
        model_id=metadata["model_id"],
        processing_time=metadata["processing_time"],
        tokens_generated=metadata["tokens_generated"],
        metadata=metadata,
    )


def error_event(error: ServiceError, request_id: str) -> DiffusionStreamEvent:
    """The last event of a stream that has begun, instead of an exception."""
    metadata: dict[str, Any] = {"code": error.code, "request_id": request_id}
    if isinstance(error, GenerationTimeout):
        metadata |= {"partial": True, "text": error.partial_text}
    return DiffusionStreamEvent(type="error", data=public_message(error), metadata=metadata)
