from __future__ import annotations

import asyncio

import pytest
from starlette.types import Receive, Scope, Send

from app.api.bodies.body_deadline import BodyDeadline
from app.api.errors.table import BodyTooSlow
from tests.unit.api.asgi import DISCONNECT, Client, body_messages, http_scope

TIMEOUT_S = 0.05


async def read_until_departure(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def test_a_body_that_does_not_come_is_refused() -> None:
    with pytest.raises(BodyTooSlow, match=r"within 0\.05 s"):
        await Client().call(BodyDeadline(read_until_departure, TIMEOUT_S), http_scope())


async def test_a_piece_now_and_then_does_not_help() -> None:
    client = Client()
    for number in range(100):
        message = {"type": "http.request", "body": b"x", "more_body": True}
        asyncio.get_running_loop().call_later(number * TIMEOUT_S / 10, client.say, message)
    with pytest.raises(BodyTooSlow):
        await client.call(BodyDeadline(read_until_departure, TIMEOUT_S), http_scope())


async def test_after_the_body_there_is_time() -> None:
    client = Client(*body_messages(b"all", b"of it"))
    asyncio.get_running_loop().call_later(3 * TIMEOUT_S, client.say, DISCONNECT)
    await client.call(BodyDeadline(read_until_departure, TIMEOUT_S), http_scope())


async def test_a_client_that_leaves_in_time_has_left() -> None:
    await Client(DISCONNECT).call(BodyDeadline(read_until_departure, TIMEOUT_S), http_scope())
