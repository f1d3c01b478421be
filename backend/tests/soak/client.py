"""HTTP by hand, for clients that no library would be: ones that read slowly, say half a sentence, or just vanish."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

HOST = "127.0.0.1"
PATIENCE_S = 90.0
"""Within which the next bytes must come; longer than the server's own deadlines, so that its answers come first."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Head:
    """Status line and headers of an answer; header names are in lower case."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)


class Connection:
    """One connection, whose owner decides how fast it reads and how it ends. Leaving the block closes it.

    Every wait may raise TimeoutError; a connection that the server cuts raises OSError or EOFError.
    """

    def __init__(self, port: int, *, receive_buffer_bytes: int | None = None) -> None:
        self._port = port
        self._receive_buffer_bytes = receive_buffer_bytes
        self._socket = socket.socket()
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def __aenter__(self) -> Self:
        self._socket.setblocking(False)
        limit = 2**20
        if self._receive_buffer_bytes is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer_bytes)
            limit = self._receive_buffer_bytes
        try:
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.get_running_loop().sock_connect(self._socket, (HOST, self._port))
                self._reader, self._writer = await asyncio.open_connection(sock=self._socket, limit=limit)
        except BaseException:
            self._socket.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Aborting frees the socket at once, also one whose other end does not read.
        self._writer.transport.abort()

    def reset(self) -> None:
        """Vanishes: the server gets RST where it expected a reader."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    def shut(self) -> None:
        """Says that nothing more will come, and goes on reading."""
        self._writer.write_eof()

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        async with asyncio.timeout(PATIENCE_S):
            await self._writer.drain()

    async def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> None:
        """Sends a request; underscores in header names stand for hyphens."""
        await self.send(request_bytes(method, path, body, **headers))

    async def head(self) -> Head:
        async with asyncio.timeout(PATIENCE_S):
            lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines[1:] if line)
        return Head(int(lines[0].split(" ")[1]), {name.lower(): value.strip() for name, _, value in pairs})

    async def chunks(self, head: Head) -> AsyncIterator[bytes]:
        """The body as it comes; raises EOFError where it is cut short."""
        if head.headers.get("transfer-encoding") != "chunked":
            yield await self._exactly(int(head.headers.get("content-length", "0")))
            return
        while size := int(await self._line(), 16):
            yield await self._exactly(size)
            await self._line()
        await self._line()

    async def body(self, head: Head) -> bytes:
        return b"".join([chunk async for chunk in self.chunks(head)])

    async def rest(self) -> bytes:
        """Everything until the server closes."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._reader.read()

    async def _exactly(self, num_bytes: int) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            return await self._reader.readexactly(num_bytes)

    async def _line(self) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            line = await self._reader.readuntil(b"\r\n")
        return line.removesuffix(b"\r\n")


def request_bytes(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    usual = {"Host": "localhost", "Content-Type": "application/json", "Content-Length": str(len(body))}
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{name}: {value}" for name, value in {**usual, **given}.items()]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode("latin-1") + body


async def call(port: int, method: str, path: str, body: Json | None = None, **headers: str) -> tuple[int, Json]:
    """Status and JSON of a whole exchange on a connection of its own."""
    data = b"" if body is None else json.dumps(body).encode()
    async with Connection(port) as connection:
        await connection.ask(method, path, data, **headers)
        head = await connection.head()
        answer: Json = json.loads(await connection.body(head))
    return head.status, answer


async def text(port: int, path: str) -> str:
    """The body of a GET that is no JSON."""
    async with Connection(port) as connection:
        await connection.ask("GET", path)
        return (await connection.body(await connection.head())).decode()
