"""One id per request: in `X-Request-ID`, in error bodies, in events, in traces and in every log line about it."""

from __future__ import annotations

import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.logging import label_log_lines
from app.services.diffusion.requests.call import Call

HEADER = "X-Request-ID"

VALID_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@=+-]{0,127}")
"""The form of a client's id: it is written into logs, and must not be able to look like anything else there."""


class RequestId:
    """Knows each request by the id that its client sends, or by one of ours where there is none of a valid form."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        call = Call(_given_id(Headers(scope=scope)))
        scope.setdefault("state", {})["call"] = call
        label_log_lines(call.request_id)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = call.request_id
            await send(message)

        await self.app(scope, receive, send_with_id)


def call_of(scope: Scope) -> Call:
    """The call that the request is to the service."""
    call: Call = scope.setdefault("state", {}).setdefault("call", Call())
    return call


def request_id(scope: Scope) -> str:
    """The id of the request; empty where it has none yet."""
    call: Call | None = scope.get("state", {}).get("call")
    return call.request_id if call is not None else ""


def _given_id(headers: Headers) -> str:
    given = headers.get(HEADER, "")
    return given if VALID_ID.fullmatch(given) else ""
