from __future__ import annotations

import pytest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.access.api_keys import ApiKeys
from app.api.access.counters import CallCounters
from app.api.access.wrong_credentials import LIMIT, LimitWrongCredentials, WrongCredentials
from tests.unit.api.asgi import Client, http_scope

LIMIT_IN_FORCE = "3/minute"


async def inside(scope: Scope, receive: Receive, send: Send) -> None:
    await Response("in")(scope, receive, send)


def guarded(limit: str = LIMIT_IN_FORCE) -> LimitWrongCredentials:
    return LimitWrongCredentials(ApiKeys(inside, ["right"]), WrongCredentials(CallCounters("memory"), lambda: limit))


async def ask(app: LimitWrongCredentials, key: str | None, address: str = "10.0.0.1") -> Client:
    client = Client()
    headers = {} if key is None else {"X-API-Key": key}
    await client.call(app, http_scope(headers=headers, client=(address, 1)))
    return client


async def test_too_many_wrong_ones_are_429_and_the_right_one_is_always_let_in() -> None:
    app = guarded()
    assert [(await ask(app, "wrong")).status for _ in range(5)] == [401, 401, 401, 429, 429]
    refused = await ask(app, "wrong")
    assert refused.json()["code"] == "rate_limited"
    assert 0 < int(refused.headers["retry-after"]) <= 120
    assert (await ask(app, "right")).body == b"in"
    assert (await ask(app, "wrong", "10.0.0.2")).status == 401


async def test_right_ones_are_never_counted() -> None:
    app = guarded()
    for _ in range(10):
        assert (await ask(app, "right")).status == 200
    assert (await ask(app, "wrong")).status == 401


async def test_a_call_without_key_is_not_counted_as_a_wrong_one() -> None:
    app = guarded()
    assert {(await ask(app, None)).status for _ in range(10)} == {401}


@pytest.mark.parametrize("none", ["", " "])
async def test_there_is_a_limit_where_none_is_set(none: str) -> None:
    app, allowed = guarded(none), int(LIMIT.partition("/")[0])
    statuses = [(await ask(app, "wrong")).status for _ in range(allowed + 1)]
    assert statuses == [401] * allowed + [429]


@pytest.mark.parametrize("status", [200, 403, 404])
async def test_other_answers_are_left_alone(status: int) -> None:
    app = LimitWrongCredentials(
        Response("x", status_code=status), WrongCredentials(CallCounters("memory"), lambda: "1/day")
    )
    for _ in range(3):
        answer = await ask(app, "any")
        assert (answer.status, answer.body) == (status, b"x")
