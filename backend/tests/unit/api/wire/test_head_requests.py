from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from app.api.wire.head_requests import HeadRequests
from tests.unit.api.asgi import Client, http_scope


async def whole(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse(scope["method"] * 3)(scope, receive, send)


async def in_pieces(scope: Scope, receive: Receive, send: Send) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"a"
        yield b"b"

    await StreamingResponse(pieces())(scope, receive, send)


async def broken(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError


async def test_head_has_the_head_of_get_and_no_body() -> None:
    got, asked, scope = Client(), Client(), http_scope(method="HEAD")
    await got.call(HeadRequests(whole), http_scope(method="GET"))
    await asked.call(HeadRequests(whole), scope)
    assert (asked.status, asked.headers, asked.body) == (got.status, got.headers, b"")
    assert (got.body, scope["method"]) == (b"GETGETGET", "HEAD")


async def test_a_body_that_comes_in_pieces_is_left_out_too() -> None:
    asked = Client()
    await asked.call(HeadRequests(in_pieces), http_scope(method="HEAD"))
    assert (asked.body, asked.sent[-1]["more_body"]) == (b"", False)


async def test_other_methods_are_left_alone() -> None:
    client = Client()
    await client.call(HeadRequests(whole), http_scope(method="POST"))
    assert client.body == b"POSTPOSTPOST"


async def test_outer_middleware_sees_the_sent_method_also_after_an_error() -> None:
    scope = http_scope(method="HEAD")
    with pytest.raises(RuntimeError):
        await Client().call(HeadRequests(broken), scope)
    assert scope["method"] == "HEAD"
