"""The rate limit: how often one client may make a model work."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.access.api_keys import key_name
from app.api.access.counters import CallCounters, Verdict
from app.api.errors.table import RateLimited, problem_response
from app.api.wire.kinds import is_generating_call
from app.core.setting_types import parse_rate_limit

IPV6_PREFIX_BITS = 64
"""The prefix that one customer of a network gets at least; the customer can send from each of its addresses."""


class RateLimit:
    """Counts the generating calls of each client, and refuses those above the limit that is in force."""

    def __init__(self, app: ASGIApp, counters: CallCounters, current_limit: Callable[[], str]) -> None:
        self.app = app
        self._counters = counters
        self._current_limit = current_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_counted = scope["type"] == "http" and is_generating_call(scope)
        limits = parse_rate_limit(self._current_limit()) if is_counted else ()
        if not limits:
            await self.app(scope, receive, send)
            return
        verdict = await self._counters.count(limits, client_of(scope))
        answer = self.app if verdict.is_allowed else problem_response(scope, _refusal(verdict))
        await answer(scope, receive, _with_headers(send, verdict))


def client_of(scope: Scope) -> str:
    """The client that is counted: a key's holder, else an address. No header is believed: anybody can write one."""
    name = key_name(scope)
    if name is not None:
        return f"key:{name}"
    return address_of(scope)


def address_of(scope: Scope) -> str:
    """The network address that a call comes from, whatever key it has."""
    return f"address:{_network(scope['client'][0])}" if scope.get("client") else "address:unknown"


def _network(host: str) -> str:
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ip_network((int(address), IPV6_PREFIX_BITS), strict=False))


def _with_headers(send: Send, verdict: Verdict) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["RateLimit-Limit"] = str(verdict.limit.amount)
            headers["RateLimit-Remaining"] = str(verdict.num_remaining)
            headers["RateLimit-Reset"] = str(verdict.reset_s)
        await send(message)

    return send_with_headers


def _refusal(verdict: Verdict) -> RateLimited:
    return RateLimited(
        f"the limit of {verdict.limit} is used up; try again in {verdict.retry_after_s} s",
        retry_after_s=verdict.retry_after_s,
    )
