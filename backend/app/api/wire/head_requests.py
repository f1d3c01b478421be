"""HEAD on every path that has GET (RFC 9110, section 9.3.2), for probes that want no more than the status."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadRequests:
    """Answers HEAD as GET, and leaves the body out.

    It must be the innermost middleware: everybody outside of it counts, logs and refuses the request as what it was.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return
        # In place, and not in a copy: the router notes in the scope which route has answered.
        scope["method"] = "GET"
        try:
            await self.app(scope, receive, _without_body(send))
        finally:
            scope["method"] = "HEAD"


def _without_body(send: Send) -> Send:
    async def send_head(message: Message) -> None:
        await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

    return send_head
