"""One line in the log per request: what was asked and how it ended, never what was said."""

from __future__ import annotations

import logging
import time

from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.observation.status import StatusRecorder
from app.api.wire.kinds import is_probe
from app.api.wire.request_id import request_id

logger = logging.getLogger(__name__)


class RequestLog:
    """Logs a request when the last byte of its answer is sent. A client that left is logged as 499, whatever had been
    sent before; a probe that finds all well only at debug level, since it comes every few seconds."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started_s = time.perf_counter()
        recorder = StatusRecorder(scope, send)
        try:
            await self.app(scope, receive, recorder.send)
        finally:
            _log(scope, recorder.status, time.perf_counter() - started_s)


def _log(scope: Scope, status: int, duration_s: float) -> None:
    # The raw path is still percent-encoded, so that nobody can write a line of their own into the log.
    path = scope.get("raw_path", b"").decode("ascii", "replace")[:200]
    logger.log(
        logging.DEBUG if is_probe(scope) and status < 400 else logging.INFO,
        "request",
        extra={
            "request_id": request_id(scope),
            "method": scope["method"],
            "path": path,
            "status": status,
            "duration_ms": round(duration_s * 1000, 1),
        },
    )
