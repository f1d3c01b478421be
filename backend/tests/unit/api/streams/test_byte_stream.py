from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from app.api.streams.byte_stream import ByteStream, KeepAlive
from app.api.wire.disconnect import has_left
from tests.unit.api.asgi import DISCONNECT, Client, http_scope


class Source:
    """Gives its pieces, then waits until it is closed."""

    def __init__(self, *pieces: bytes, is_endless: bool = False) -> None:
        self._pieces = pieces
        self._is_endless = is_endless
        self.num_ended = 0
        self.num_closed = 0

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        try:
            for piece in self._pieces:
                yield piece
            if self._is_endless:
                await asyncio.Event().wait()
        finally:
            self.num_ended += 1

    async def close(self) -> None:
        self.num_closed += 1

    def stream(self) -> ByteStream:
        return ByteStream(self.pieces(), media_type="text/x", keep_alive=b":", silence_s=60.0, close=self.close)


async def test_each_piece_is_sent_separately_and_the_source_is_closed() -> None:
    source, client = Source(b"a", b"b"), Client()
    await client.call(source.stream(), http_scope())
    assert [message["body"] for message in client.sent[1:]] == [b"a", b"b", b""]
    assert client.headers["cache-control"] == "no-store"
    assert (source.num_ended, source.num_closed) == (1, 1)


async def test_a_client_that_leaves_closes_the_source() -> None:
    source, client, scope = Source(b"a", is_endless=True), Client(), http_scope()
    asyncio.get_running_loop().call_later(0.01, client.say, DISCONNECT)
    await client.call(source.stream(), scope)
    assert has_left(scope)
    assert client.sent[-1]["more_body"] is True
    assert (source.num_ended, source.num_closed) == (1, 1)


async def test_no_keep_alive_is_sent_while_events_come() -> None:
    said: list[bytes] = []

    async def say(data: bytes) -> None:
        said.append(data)

    keep_alive = KeepAlive(say, b":", silence_s=0.2)
    async with keep_alive:
        for _ in range(30):
            await asyncio.sleep(0.01)
            await keep_alive.send(b"x")
    assert said == [b"x"] * 30
