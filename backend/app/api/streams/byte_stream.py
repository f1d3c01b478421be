"""A body that grows: sent piece by piece, never silent for long, and given up when its client leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.wire.disconnect import note_departure, while_connected

STREAM_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class ByteStream(Response):
    """Sends `pieces` as they come; calls `close` when all are sent, or when the client leaves.

    Args:
        keep_alive: what is sent while nothing happens.
        silence_s: seconds of silence after which `keep_alive` is sent.
        is_overdue: whether the silence has lasted that long already.
    """

    def __init__(
        self,
        pieces: AsyncGenerator[bytes, None],
        *,
        media_type: str,
        keep_alive: bytes,
        silence_s: float,
        is_overdue: bool = False,
        close: Callable[[], Awaitable[None]],
    ) -> None:
        self.pieces = pieces
        self.keep_alive = keep_alive
        self.silence_s = silence_s
        self.is_overdue = is_overdue
        self.close = close
        self.status_code = 200
        self.media_type = media_type
        self.background = None
        self.init_headers(STREAM_HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await while_connected(self._send_all(send), receive)
        except ClientDisconnect:
            note_departure(scope)
        finally:
            await self.close()

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})

        async def send_bytes(data: bytes) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": True})

        if self.is_overdue:
            await send_bytes(self.keep_alive)
        keep_alive = KeepAlive(send_bytes, self.keep_alive, self.silence_s)
        async with keep_alive, aclosing(self.pieces):
            async for piece in self.pieces:
                await keep_alive.send(piece)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class KeepAlive:
    """Sends `sign` whenever `silence_s` pass in which nothing else was sent."""

    def __init__(self, send: Callable[[bytes], Awaitable[None]], sign: bytes, silence_s: float) -> None:
        self._send = send
        self._sign = sign
        self._silence_s = silence_s
        self._one_at_a_time = asyncio.Lock()
        self._has_spoken = asyncio.Event()
        self._ticker: asyncio.Task[None]

    async def send(self, data: bytes) -> None:
        self._has_spoken.set()
        async with self._one_at_a_time:
            await self._send(data)

    async def __aenter__(self) -> None:
        self._ticker = asyncio.create_task(self._tick())

    async def __aexit__(self, *_: object) -> None:
        self._ticker.cancel()
        with suppress(asyncio.CancelledError):
            await self._ticker

    async def _tick(self) -> None:
        while True:
            self._has_spoken.clear()
            try:
                async with asyncio.timeout(self._silence_s):
                    await self._has_spoken.wait()
            except TimeoutError:
                await self.send(self._sign)
