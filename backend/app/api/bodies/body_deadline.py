"""The deadline for a body, so that one that does not arrive holds nothing up for long."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.errors.table import BodyTooSlow


class BodyDeadline:
    """Gives a body `timeout_s` to arrive, counted from the request's head; then the request is refused."""

    def __init__(self, app: ASGIApp, timeout_s: float) -> None:
        self.app = app
        self.timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            receive = self._in_time(receive)
        await self.app(scope, receive, send)

    def _in_time(self, receive: Receive) -> Receive:
        deadline_s = asyncio.get_running_loop().time() + self.timeout_s
        is_complete = False

        async def receive_in_time() -> Message:
            nonlocal is_complete
            if is_complete:  # what may come now is the client's departure, and that may take as long as it likes
                return await receive()
            try:
                async with asyncio.timeout_at(deadline_s):
                    message = await receive()
            except TimeoutError:
                raise BodyTooSlow(
                    f"the body did not arrive within {self.timeout_s:g} s; send it faster, or send less"
                ) from None
            is_complete = not message.get("more_body", False)
            return message

        return receive_in_time
