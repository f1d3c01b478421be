"""Counts the mistakes of clients in one place, whoever noticed them: a parser, a limit, the service or an engine."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.errors.refusal import refusal_code
from app.api.observation.status import StatusRecorder
from app.api.wire.disconnect import CLIENT_GONE
from app.api.wire.kinds import is_generating_call
from app.api.wire.request_id import call_of
from app.services.diffusion import DiffusionLLMService


class RefusedCalls:
    """Counts a generating call that is answered with a 4xx, unless the service has counted it as refused already. It
    stands inside `RequestId`, and outside of everything that refuses."""

    def __init__(self, app: ASGIApp, service: DiffusionLLMService) -> None:
        self.app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not is_generating_call(scope):
            await self.app(scope, receive, send)
            return
        recorder = StatusRecorder(scope, send)
        await self.app(scope, receive, recorder.send)
        if 400 <= recorder.status < CLIENT_GONE:
            self._service.count_refusal(call_of(scope), refusal_code(scope))
