"""The status of an answer, for whoever reports it afterwards: the log, the metrics, the traces."""

from __future__ import annotations

from starlette.types import Message, Scope, Send

from app.api.wire.disconnect import CLIENT_GONE, has_left


class StatusRecorder:
    """Passes an answer on and remembers its status."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self._status = CLIENT_GONE  # without an answer there was nobody to get one

    async def send(self, message: Message) -> None:
        self._status = message.get("status", self._status)
        await self._send(message)

    @property
    def status(self) -> int:
        """The status that was sent; 499 where the client left, whatever had been sent before."""
        return CLIENT_GONE if has_left(self._scope) else self._status
