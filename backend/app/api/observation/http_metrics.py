"""Counts every HTTP answer, those of unknown paths and of refused bodies too."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.observation.instruments import Instruments
from app.api.observation.route_template import route_of
from app.api.observation.status import StatusRecorder


class HttpMetrics:
    """Counts an answer when its last byte is sent. A client that left is counted as 499, as in the log."""

    def __init__(self, app: ASGIApp, instruments: Instruments) -> None:
        self.app = app
        self.instruments = instruments

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        recorder = StatusRecorder(scope, send)
        try:
            await self.app(scope, receive, recorder.send)
        finally:
            self.instruments.count_answer(route=route_of(scope), status=recorder.status)
