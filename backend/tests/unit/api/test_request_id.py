from __future__ import annotations

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.request_id import RequestId, adopt_request_id, request_id
from tests.unit.api.asgi import Client, http_scope


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    await Response(request_id(scope))(scope, receive, send)


async def test_each_request_has_an_id_of_ours() -> None:
    ids = []
    for _ in range(3):
        client = Client()
        await client.call(RequestId(answer), http_scope(headers={"X-Request-ID": "theirs"}))
        assert client.headers["x-request-id"] == client.body.decode()
        ids.append(client.headers["x-request-id"])
    assert len({*ids, "theirs"}) == 4


async def test_an_adopted_id_takes_its_place() -> None:
    async def adopt(scope: Scope, receive: Receive, send: Send) -> None:
        adopt_request_id(scope, "generation-7")
        await Response()(scope, receive, send)

    client = Client()
    await client.call(RequestId(adopt), http_scope())
    assert client.headers["x-request-id"] == "generation-7"
