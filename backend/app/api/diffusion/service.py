"""Between a route and a generation: the status is decided before the first byte, and a gone client frees its place."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.disconnect import note_departure, while_connected
from app.api.framing import Framing, framing_for
from app.api.request_id import adopt_request_id
from app.services.diffusion import Generation, GenerationResult

KEEP_ALIVE_S = 15.0
STREAM_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


async def collect(generation: Generation, request: Request) -> GenerationResult:
    """The whole result.

    Raises:
        ServiceError: what the generation came to instead.
        ClientDisconnect: the client left; the generation is over.
    """
    adopt_request_id(request.scope, generation.request_id)

    async def result() -> GenerationResult:
        return await generation

    try:
        return await while_connected(result(), request.receive)
    finally:
        await generation.aclose()


async def open_stream(generation: Generation, request: Request) -> EventStream:
    """The stream, once its first event is there; until then an error is a status, afterwards an event.

    Raises:
        ServiceError: the generation was refused, or failed before its first event.
        ClientDisconnect: the client left while waiting; the generation is over.
    """
    adopt_request_id(request.scope, generation.request_id)
    try:
        await while_connected(generation.accepted(), request.receive)
    except BaseException:
        await generation.aclose()
        raise
    return EventStream(generation, framing_for(",".join(request.headers.getlist("accept"))))


class EventStream(Response):
    """A generation as a body that grows; closes the generation when it is sent, or when the client leaves."""

    def __init__(self, generation: Generation, framing: Framing) -> None:
        self.generation = generation
        self.framing = framing
        self.status_code = 200
        self.media_type = framing.media_type
        self.background = None
        self.init_headers(STREAM_HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await while_connected(self._send_all(send), receive)
        except ClientDisconnect:
            note_departure(scope)
        finally:
            await self.generation.aclose()

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})

        async def send_bytes(data: bytes) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": True})

        keep_alive = KeepAlive(send_bytes, self.framing.keep_alive, KEEP_ALIVE_S)
        async with keep_alive:
            async for event in self.generation:
                await keep_alive.send(self.framing.encode(event))
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class KeepAlive:
    """Sends `comment` whenever `silence_s` pass in which nothing else was sent."""

    def __init__(self, send: Callable[[bytes], Awaitable[None]], comment: bytes | None, silence_s: float) -> None:
        self._send = send
        self._comment = comment
        self._silence_s = silence_s
        self._one_at_a_time = asyncio.Lock()
        self._has_spoken = asyncio.Event()
        self._ticker: asyncio.Task[None] | None = None

    async def send(self, data: bytes) -> None:
        self._has_spoken.set()
        async with self._one_at_a_time:
            await self._send(data)

    async def __aenter__(self) -> None:
        if self._comment is not None:
            self._ticker = asyncio.create_task(self._tick(self._comment))

    async def __aexit__(self, *_: object) -> None:
        if self._ticker is not None:
            self._ticker.cancel()
            with suppress(asyncio.CancelledError):
                await self._ticker

    async def _tick(self, comment: bytes) -> None:
        while True:
            self._has_spoken.clear()
            try:
                async with asyncio.timeout(self._silence_s):
                    await self._has_spoken.wait()
            except TimeoutError:
                await self.send(comment)
