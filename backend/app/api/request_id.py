"""One id per request: in `X-Request-ID`, in error bodies and in its log lines."""

from __future__ import annotations

from uuid import uuid4

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.logging import label_log_lines

HEADER = "X-Request-ID"


class RequestId:
    """Gives each request an id of our own; one that the client sends is not trusted and not kept."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        adopt_request_id(scope, uuid4().hex)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = request_id(scope)
            await send(message)

        await self.app(scope, receive, send_with_id)


def adopt_request_id(scope: Scope, new_id: str) -> None:
    """From now on the request is known by `new_id`: the service's own id, once it has one."""
    scope.setdefault("state", {})["request_id"] = new_id
    label_log_lines(new_id)


def request_id(scope: Scope) -> str:
    """The id that the request has now."""
    return str(scope.get("state", {}).get("request_id", ""))
