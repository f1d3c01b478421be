"""Several generations for one call, which are answered together and end together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import TypeAlias, TypeVar

from fastapi import Request

from app.api.errors.problem import FieldError
from app.api.errors.table import InvalidBody
from app.api.streams.byte_stream import ByteStream
from app.api.streams.framing import Framing
from app.api.wire.disconnect import while_connected
from app.api.wire.request_id import call_of, request_id
from app.core.parameters import MAX_SEED
from app.services.diffusion import (
    DiffusionLLMService,
    DiffusionStreamEvent,
    Generation,
    GenerationResult,
    ServiceError,
)
from app.services.diffusion.public_words import public_message
from app.services.diffusion.reading import Asked
from app.services.diffusion.requests.generation import error_event

MAX_CHOICES = 8
"""The greatest number of answers to one call."""

IndexedEvents: TypeAlias = AsyncGenerator[tuple[int, DiffusionStreamEvent], None]
"""Events of several generations, each with the index of its own."""

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
    """The number of answers that can run and wait together."""
    config = service.configuration()
    places: int = config["max_concurrent_requests"] + config["max_queued_requests"]
    return places


def start_choices(service: DiffusionLLMService, wanted: Sequence[Asked], request: Request) -> list[Generation]:
    """The generations that one request is answered with; each begins when it is first used."""
    parts = call_of(request.scope).parts(len(wanted))
    return [service.generation(params, part) for params, part in zip(wanted, parts, strict=True)]


async def collect_choices(generations: Sequence[Generation], request: Request) -> list[GenerationResult]:
    """The results of all generations, in the same order.

    Raises:
        ServiceError: the error of the first that failed; the others are given up.
        ClientDisconnect: the client left; all are over.
    """
    try:
        return await while_connected(_results(generations), request.receive)
    finally:
        await close_choices(generations)


async def _results(generations: Sequence[Generation]) -> list[GenerationResult]:
    return list(await asyncio.gather(*map(_result, generations)))


async def _result(generation: Generation) -> GenerationResult:
    return await generation


async def merged(streams: Sequence[AsyncIterator[DiffusionStreamEvent]]) -> IndexedEvents:
    """The events of all streams as they happen, each with the index of its stream. A stream that fails before its first
    event ends with an `error` event too, if another stream had an event.

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
        return DiffusionStreamEvent(type="error", data=public_message(error), metadata={"code": error.code})
    return task.result()


async def stream_choices(
    generations: Sequence[Generation], events: IndexedEvents, framing: Framing, request: Request, *, silence_s: float
) -> ByteStream:
    """Opens the stream of all generations once the first event is there: until then an error is a status. Where that
    takes longer than `silence_s`, because they wait in the queue or for a model, the head leaves and an error is an
    event of the stream.

    Args:
        events: the events of the generations; the first to fail before there is any raises its error.
        framing: writes the events as the client reads them.

    Raises:
        ServiceError: one was refused, or failed before the first event.
        ClientDisconnect: the client left while waiting; all are over.
    """
    first = asyncio.create_task(_next(events))

    async def close() -> None:
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await events.aclose()
        await close_choices(generations)

    try:
        is_overdue = not await while_connected(_is_done(first, silence_s), request.receive)
    except BaseException:
        await close()
        raise
    return ByteStream(
        written(_opened(first, events, request_id(request.scope)), framing),
        media_type=framing.media_type,
        keep_alive=framing.keep_alive,
        silence_s=silence_s,
        is_overdue=is_overdue,
        close=close,
    )


async def written(indexed: IndexedEvents, framing: Framing) -> AsyncGenerator[bytes, None]:
    """The bytes of a stream. It ends with the first error: what else was asked for in the same call is given up."""
    async with aclosing(indexed) as events:
        async for index, event in events:
            if piece := framing.write(index, event):
                yield piece
            if event.type == "error":
                return
    if piece := framing.end():
        yield piece


def allowed_silence_s(service: DiffusionLLMService) -> float:
    """The seconds for which a stream of this service may be silent."""
    return float(service.configuration()["keep_alive_seconds"])


async def _is_done(first: asyncio.Task[T], within_s: float) -> bool:
    """Whether the task has a result within so many seconds; raises what it raised."""
    done, _ = await asyncio.wait({first}, timeout=within_s)
    for task in done:
        task.result()
    return bool(done)


async def _opened(
    first: asyncio.Task[tuple[int, DiffusionStreamEvent]], rest: IndexedEvents, request_id: str
) -> IndexedEvents:
    """All events, beginning with the one that is being waited for. An error instead of it becomes an event."""
    try:
        yield await first
    except ServiceError as error:
        yield 0, error_event(error, request_id)
        return
    async for indexed in rest:
        yield indexed


async def close_choices(generations: Sequence[Generation]) -> None:
    """Gives up the generations that are not over."""
    for generation in generations:
        await generation.aclose()
