"""The limit on wrong keys and tokens from one address."""

from __future__ import annotations

from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.access.counters import CallCounters
from app.api.access.rate_limit import address_of
from app.api.errors.table import RateLimited, problem_response
from app.core.setting_types import parse_rate_limit

LIMIT = "120/minute"
"""The limit where `rate_limit` is empty: far more than people mistype, and far less than guessing takes."""


class WrongCredentials:
    """Counts wrong keys and tokens by address. Right ones are never counted and never refused, so that whoever guesses
    locks nobody out, not even behind the same proxy."""

    def __init__(self, counters: CallCounters, current_limit: Callable[[], str]) -> None:
        self._counters = counters
        self._current_limit = current_limit

    async def note(self, scope: Scope) -> RateLimited | None:
        """Counts a wrong key or token; gives the error where there were too many."""
        limits = parse_rate_limit(self._current_limit()) or parse_rate_limit(LIMIT)
        verdict = await self._counters.count(limits, f"wrong credentials of {address_of(scope)}")
        if verdict.is_allowed:
            return None
        return RateLimited(
            f"more than {verdict.limit} wrong keys or tokens came from here; try again in {verdict.retry_after_s} s",
            retry_after_s=verdict.retry_after_s,
        )


class LimitWrongCredentials:
    """Answers 429 instead of 401 where an address has sent too many that were wrong."""

    def __init__(self, app: ASGIApp, wrong_credentials: WrongCredentials) -> None:
        self.app = app
        self._wrong_credentials = wrong_credentials

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _has_credentials(scope):
            await self.app(scope, receive, send)
            return
        is_replaced = False

        async def send_or_replace(message: Message) -> None:
            nonlocal is_replaced
            is_refusal = message["type"] == "http.response.start" and message["status"] == 401
            if is_refusal and (error := await self._wrong_credentials.note(scope)):
                is_replaced = True
                await problem_response(scope, error)(scope, receive, send)
            elif not is_replaced:
                await send(message)

        await self.app(scope, receive, send_or_replace)


def _has_credentials(scope: Scope) -> bool:
    """Whether a key or token was tried; a page that does not know its key yet gets 401 as often as it asks."""
    headers = Headers(scope=scope)
    return "authorization" in headers or "x-api-key" in headers
