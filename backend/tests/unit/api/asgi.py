"""Plain ASGI calls, for middleware and responses that need no application around them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

from starlette.types import ASGIApp, Message, Scope

from app.api.face import Faces
from app.api.registry import FACES as ALL

FACES = Faces(ALL)

DISCONNECT: Message = {"type": "http.disconnect"}


def http_scope(
    path: str = "/x",
    *,
    method: str = "POST",
    headers: dict[str, str] | Iterable[tuple[str, str]] = (),
    client: tuple[str, int] | None = ("127.0.0.1", 50_000),
) -> Scope:
    """A request as the server's middleware sees it: what its face declares is noted on it."""
    pairs = headers.items() if isinstance(headers, dict) else headers
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in pairs],
        "client": client,
        "server": ("127.0.0.1", 8000),
    }
    FACES.note(scope)
    return scope


def body_messages(*chunks: bytes) -> list[Message]:
    last = len(chunks) - 1
    return [{"type": "http.request", "body": chunk, "more_body": n < last} for n, chunk in enumerate(chunks)]


class Client:
    """The other end of one call: hands out messages, then stays silent, and remembers what it was sent."""

    def __init__(self, *messages: Message) -> None:
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self.sent: list[Message] = []
        for message in messages:
            self.say(message)

    def say(self, message: Message) -> None:
        self._inbox.put_nowait(message)

    async def receive(self) -> Message:
        return await self._inbox.get()

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    async def call(self, app: ASGIApp, scope: Scope) -> None:
        await app(scope, self.receive, self.send)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent[1:])

    def json(self) -> Any:
        return json.loads(self.body)
