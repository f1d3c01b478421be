"""One call, several generations: they are answered together, and end together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import TypeVar

from fastapi import Request

from app.api.disconnect import while_connected
from app.api.errors import InvalidBody
from app.api.framing import SERVER_SENT_EVENTS, ServerSentEvents
from app.api.problem import FieldError
from app.api.request_id import call_of
from app.api.streaming import ByteStream
from app.services.diffusion import (
    DiffusionLLMService,
    DiffusionStreamEvent,
    Generation,
    GenerationResult,
    ServiceError,
)
from app.services.diffusion.run import Params

MAX_CHOICES = 8
"""Answers to one call."""
MAX_SEED = 2**63 - 1

T = TypeVar("T")


def seeds_from(first: int | None, count: int) -> list[int | None]:
    """The seeds of several answers to one request: `first` and those that follow; none where none is given."""
    return [None if first is None else (first + number) % (MAX_SEED + 1) for number in range(count)]


def require_places(service: DiffusionLLMService, count: int) -> None:
    """Refuses a call for more answers than can ever run and wait together: to try again later would not help.

    Raises:
        InvalidBody: names the bound.
    """
    places = num_places(service)
    if count > places:
        message = (
            f"n and prompt ask for {count} answers at once, and this server takes {places} "
            f"(max_concurrent_requests + max_queued_requests); ask for at most {places}"
        )
        raise InvalidBody([FieldError(field="n", message=message, value=count)])


def num_places(service: DiffusionLLMService) -> int:
    """How many answers can run and wait together."""
    config = service.configuration()
    places: int = config["max_concurrent_requests"] + config["max_queued_requests"]
    return places


def start_all(service: DiffusionLLMService, wanted: Sequence[Params], request: Request) -> list[Generation]:
    """The generations that one request is answered with; each begins when it is first used."""
    parts = call_of(request.scope).parts(len(wanted))
    return [service.generation(params, part) for params, part in zip(wanted, parts, strict=True)]


async def collect_all(generations: Sequence[Generation], request: Request) -> list[GenerationResult]:
    """Their results, in the same order.

    Raises:
        ServiceError: what the first that failed came to instead; the others are given up.
        ClientDisconnect: the client left; all are over.
    """
    try:
        return await while_connected(_results(generations), request.receive)
    finally:
        await close_all(generations)


async def _results(generations: Sequence[Generation]) -> list[GenerationResult]:
    return list(await asyncio.gather(*map(_result, generations)))


async def _result(generation: Generation) -> GenerationResult:
    return await generation


async def merged(
    streams: Sequence[AsyncIterator[DiffusionStreamEvent]],
) -> AsyncGenerator[tuple[int, DiffusionStreamEvent], None]:
    """The events of all as they happen, each with the index of its stream. One that fails before its first event ends
    with an `error` event too, if there was an event of another.

    Raises:
        ServiceError: one failed before there was any event.
    """
    has_begun = False
    waiting = {asyncio.create_task(_next(stream)): index for index, stream in enumerate(streams)}
    try:
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            # All are looked at before any is given, so that a refusal comes first.
            arrived = {waiting[task]: _event_of(task, has_begun) for task in done if not _is_exhausted(task)}
            for task in done:
                index = waiting.pop(task)
                if index in arrived:
                    yield index, arrived[index]
                    has_begun = True
                    waiting[asyncio.create_task(_next(streams[index]))] = index
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def _next(stream: AsyncIterator[T]) -> T:
    return await anext(stream)


def _is_exhausted(task: asyncio.Task[DiffusionStreamEvent]) -> bool:
    return isinstance(task.exception(), StopAsyncIteration)


def _event_of(task: asyncio.Task[DiffusionStreamEvent], has_begun: bool) -> DiffusionStreamEvent:
    error = task.exception()
    if has_begun and isinstance(error, ServiceError):
        return DiffusionStreamEvent(type="error", data=str(error), metadata={"code": error.code})
    return task.result()


async def stream_all(
    generations: Sequence[Generation], pieces: AsyncGenerator[bytes, None], request: Request
) -> ByteStream:
    """Their Server-Sent Events, once the first piece is there; until then an error is a status.

    Args:
        pieces: what becomes of their events.

    Raises:
        ServiceError: one was refused, or failed before the first piece.
        ClientDisconnect: the client left while waiting; all are over.
    """

    async def close() -> None:
        await pieces.aclose()
        await close_all(generations)

    try:
        first = await while_connected(_next(pieces), request.receive)
    except BaseException:
        await close()
        raise
    return ByteStream(
        _chained(first, pieces), media_type=SERVER_SENT_EVENTS, keep_alive=ServerSentEvents.keep_alive, close=close
    )


async def _chained(first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    yield first
    async for piece in rest:
        yield piece


async def close_all(generations: Sequence[Generation]) -> None:
    """Gives up those that are not over."""
    for generation in generations:
        await generation.aclose()
