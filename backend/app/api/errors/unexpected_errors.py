"""The last resort: an unforeseen error is logged with its cause and answered without it."""

from __future__ import annotations

import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.errors.table import problem_response
from app.api.wire.request_id import request_id

logger = logging.getLogger(__name__)


class UnexpectedErrors:
    """Answers 500 where nothing was sent yet; a stream that has begun is cut, so that it cannot seem complete."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        has_begun = False

        async def send_and_note(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        except Exception as error:
            logger.exception("unexpected error", extra={"request_id": request_id(scope)})
            if not has_begun:
                await problem_response(scope, error)(scope, receive, send)
