from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.wire.request_id import HEADER, RequestId, call_of, request_id
from app.core.logging import current_request_id
from tests.unit.api.asgi import Client, http_scope


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    assert call_of(scope).request_id == request_id(scope) == current_request_id()
    await Response(request_id(scope))(scope, receive, send)


async def id_for(**headers: str) -> str:
    """The id of a request, which must be the same for the application and for the client."""
    client = Client()
    await client.call(RequestId(answer), http_scope(headers=[(HEADER, value) for value in headers.values()]))
    assert client.headers["x-request-id"] == client.body.decode()
    return client.headers["x-request-id"]


async def test_a_request_without_an_id_gets_one_of_ours() -> None:
    assert len({await id_for() for _ in range(3)} - {""}) == 3


@pytest.mark.parametrize("given", ["a", "7e3f7a4e-9f0e-4d66-a5b4-0c5e3f1f2f11", "req_1:2@host=x+y.z", "x" * 128])
async def test_a_client_may_choose_the_id(given: str) -> None:
    assert await id_for(theirs=given) == given


@pytest.mark.parametrize(
    "given", ["", " ", "a b", "a\tb", "a\nb", 'a" b', "-a", "a/b", "a~2", "{a}", "x" * 129, "é", "a,b", "a;b", "\x7f"]
)
async def test_a_request_id_that_could_forge_a_log_line_is_replaced(given: str) -> None:
    assert await id_for(theirs=given) != given


@given(st.text(st.characters(max_codepoint=255), max_size=200))
def test_any_sent_id_becomes_one_word_of_plain_characters(given: str) -> None:
    import asyncio

    used = asyncio.run(id_for(theirs=given))
    assert used.isascii()
    assert used.isprintable()
    assert 0 < len(used) <= 128
    assert not set(used) & set(" \t\"'{},;~/\\")


async def test_a_request_that_came_by_no_middleware_has_a_call_all_the_same() -> None:
    scope = http_scope()
    assert request_id(scope) == ""
    assert call_of(scope) is call_of(scope)
    assert request_id(scope) == call_of(scope).request_id
