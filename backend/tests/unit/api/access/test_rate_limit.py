from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from starlette.responses import Response
from starlette.types import ASGIApp

from app.api.access.api_keys import ApiKeys
from app.api.access.counters import CallCounters
from app.api.access.rate_limit import RateLimit, client_of
from tests.unit.api.asgi import Client, http_scope
from tests.unit.api.clock import Clock

PATH = "/api/diffusion/generate"


def limited(limit: str | Callable[[], str], clock: Clock | None = None) -> RateLimit:
    current_limit = limit if callable(limit) else lambda: limit
    return RateLimit(Response("inside"), CallCounters("memory", clock or Clock()), current_limit)


async def call(app: ASGIApp, path: str = PATH, **options: Any) -> Client:
    client = Client()
    await client.call(app, http_scope(path, **options))
    return client


def told(client: Client) -> tuple[str | None, ...]:
    return tuple(client.headers.get(f"ratelimit-{name}") for name in ("limit", "remaining", "reset"))


async def test_every_counted_answer_reports_the_calls_left() -> None:
    app = limited("2/minute")
    answers = [await call(app) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert [told(answer) for answer in answers] == [("2", "1", "60"), ("2", "0", "60"), ("2", "0", "60")]


async def test_a_refusal_says_when_to_come_back() -> None:
    clock = Clock()
    app = limited("1/minute", clock)
    await call(app)
    refusal = await call(app)
    assert refusal.json()["code"] == "rate_limited"
    assert "1 per 1 minute" in refusal.json()["detail"]
    clock.now_s += int(refusal.headers["retry-after"])
    assert (await call(app)).status == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/api/diffusion/models"), ("GET", "/health/live"), ("GET", "/metrics"), ("GET", "/api/diffusion/config"),
     ("POST", "/api/diffusion/config"), ("POST", "/api/diffusion/admin/cleanup"), ("OPTIONS", PATH)],
)  # fmt: skip
async def test_other_calls_do_not_count(method: str, path: str) -> None:
    app = limited("1/minute")
    answers = [await call(app, path, method=method) for _ in range(3)]
    assert {(answer.status, told(answer)) for answer in answers} == {(200, (None, None, None))}
    assert told(await call(app)) == ("1", "0", "60")


async def test_the_limit_of_the_moment_is_in_force() -> None:
    limit = ""
    app = limited(lambda: limit)
    assert told(await call(app)) == (None, None, None)
    limit = "1/minute"
    assert [(await call(app)).status for _ in range(2)] == [200, 429]
    limit = "5/minute"
    assert (await call(app)).status == 200


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8::ffff:1:2:3", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("testclient", "testclient", True),
    ],
)
def test_the_client_that_a_call_is_counted_for(one: str, other: str, is_same: bool) -> None:
    first, second = (client_of(http_scope(client=(host, 1))) for host in (one, other))
    assert (first == second) == is_same


def test_no_header_makes_another_client() -> None:
    plain = client_of(http_scope())
    for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "X-API-Key", "Authorization", "X-Client"):
        assert client_of(http_scope(headers={name: "192.0.2.1"})) == plain


def test_a_client_without_an_address_is_one_too() -> None:
    assert client_of(http_scope(client=None)) == "address:unknown"


async def test_the_holders_of_different_keys_are_different_clients() -> None:
    app = ApiKeys(limited("1/minute"), ["one", "two"])
    for key in ("one", "two"):
        assert [(await call(app, headers={"X-API-Key": key})).status for _ in range(2)] == [200, 429]
