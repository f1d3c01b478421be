"""Connections whose clients make the server wait, and more connections than there is room for.

uvicorn waits for ever for the rest of a request's head, and for a client to read. Here nobody does.
"""

from __future__ import annotations

import asyncio
import socket
from typing import ClassVar

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from app.api.access.security_headers import SECURITY_HEADERS
from app.api.errors.table import MalformedRequest, TooManyConnections, problem_response
from app.api.wire.kinds import is_admin_call, is_open_call
from app.api.wire.request_id import HEADER as REQUEST_ID_HEADER
from app.services.diffusion.requests.call import Call

CHECKS_PER_TIMEOUT = 4
SEND_BUFFER_BYTES = 131_072
"""The bytes of an unread answer that the system holds per connection. Left alone it takes megabytes, and then it
takes long to distinguish a slow reader from one that does not read."""
SURPLUS_TIMEOUT_S = 1.0
"""The seconds that a connection above the limit may take to ask, and to get the answer that there is no room for it."""


class Connection(H11Protocol):
    """A client's connection. It is closed when for `client_timeout_s` the server waits for the head of a request or the
    rest of a refused one, or the client reads nothing of what there is for it.

    That a body arrives in time is up to `BodyDeadline`, which can still answer.
    """

    client_timeout_s: ClassVar[float]
    max_connections: ClassVar[int]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self._timeout_s = self.client_timeout_s
        if len(self.connections) > self.max_connections:
            self._timeout_s = min(SURPLUS_TIMEOUT_S, self._timeout_s)
            self.app_state = {**self.app_state, "is_surplus": True}
        self._unread_bytes = 0
        self._progress_s = self.loop.time()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._watching.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        self._progress_s = self.loop.time()
        super().on_response_complete()

    def resume_writing(self) -> None:
        """Notes that the client has read much: by the next look the buffer may be as full as it was at the last one."""
        self._progress_s = self.loop.time()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Tells a client that it does not speak HTTP, unless it is in the middle of an answer."""
        if self._is_answering:
            self.cycle.disconnected = True  # what comes next cannot be read, so nobody is there for the app
            self.cycle.message_event.set()
        if not self._is_answering or not self.cycle.response_started:
            self.transport.write(_malformed(msg))
        self.transport.close()

    @property
    def _is_answering(self) -> bool:
        # There is no cycle before the first request, whatever its type says.
        return self.cycle is not None and not self.cycle.response_complete  # type: ignore[redundant-expr]

    def _watch(self) -> None:
        self._watching = self.loop.call_later(self._timeout_s / CHECKS_PER_TIMEOUT, self._check)

    def _check(self) -> None:
        unread_bytes = self.transport.get_write_buffer_size()
        if self._does_its_part(unread_bytes):
            self._progress_s = self.loop.time()
        self._unread_bytes = unread_bytes
        if self.loop.time() - self._progress_s >= self._timeout_s:
            self.transport.abort()  # closing would wait until everything is read
        else:
            self._watch()

    def _does_its_part(self, unread_bytes: int) -> bool:
        """Whether the client reads, or the server owes it an answer."""
        if unread_bytes and (self.flow.write_paused or not self._is_answering):
            return unread_bytes < self._unread_bytes  # nothing is added in this state
        return self._is_answering


def connection_type(*, client_timeout_s: float, max_connections: int) -> type[Connection]:
    """The type of one server's connections, for uvicorn's `http`."""
    limits = {"client_timeout_s": client_timeout_s, "max_connections": max_connections}
    return type(Connection.__name__, (Connection,), limits)


class ConnectionLimit:
    """Refuses what is asked on a connection above the limit, except what an operator needs just then."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_surplus = scope["type"] == "http" and scope.get("state", {}).get("is_surplus", False)
        if is_surplus and not is_open_call(scope) and not is_admin_call(scope):
            await problem_response(scope, TooManyConnections("too many connections are open; try again later"))(
                scope, receive, send
            )
        else:
            await self.app(scope, receive, send)


def _malformed(message: str) -> bytes:
    """A whole answer, for there is no request that the app could be called with."""
    call = Call()
    response = problem_response({"type": "http", "state": {"call": call}}, MalformedRequest(message))
    response.headers.update({**SECURITY_HEADERS, REQUEST_ID_HEADER: call.request_id, "Connection": "close"})
    head = b"".join(name + b": " + value + b"\r\n" for name, value in response.raw_headers)
    return b"HTTP/1.1 400 Bad Request\r\n" + head + b"\r\n" + bytes(response.body)
