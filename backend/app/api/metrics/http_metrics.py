"""Counts every HTTP answer, those of unknown paths and of refused bodies too."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.disconnect import CLIENT_GONE, has_left
from app.api.metrics.instruments import Instruments
from app.api.route_template import route_of


class HttpMetrics:
    """Counts when the last byte is sent. A client that left is counted as 499, as in the log."""

    def __init__(self, app: ASGIApp, instruments: Instruments) -> None:
        self.app = app
        self.instruments = instruments

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = CLIENT_GONE

        async def send_and_note(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        finally:
            status = CLIENT_GONE if has_left(scope) else status
            self.instruments.count_answer(route=route_of(scope), status=status)
