"""The limit on the size of a body, checked before anything parses it and without buffering."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.errors.table import BodyTooLarge, problem_response


class BodyLimit:
    """Refuses a body that declares more than `max_body_bytes`, and counts a chunked one while it arrives."""

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif _declared_bytes(scope) > self.max_body_bytes:
            await problem_response(scope, self._too_large())(scope, receive, send)
        else:
            await self.app(scope, self._counting(receive), send)

    def _counting(self, receive: Receive) -> Receive:
        received_bytes = 0

        async def receive_within_limit() -> Message:
            nonlocal received_bytes
            message = await receive()
            received_bytes += len(message.get("body", b""))
            if received_bytes > self.max_body_bytes:
                raise self._too_large()
            return message

        return receive_within_limit

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"the body is larger than the limit of {self.max_body_bytes} bytes; send less text")


def _declared_bytes(scope: Scope) -> int:
    """The Content-Length; 0 where there is none, or none that is a number, since then the counting decides."""
    values = [value for name, value in scope["headers"] if name == b"content-length"]
    return max((int(value[:20]) for value in values if value.isdigit()), default=0)
