from __future__ import annotations

import pytest
from starlette.types import Message, Receive, Scope, Send

from app.api.bodies.body_limit import BodyLimit
from app.api.errors.table import BodyTooLarge
from tests.unit.api.asgi import Client, body_messages, http_scope

LIMIT = 10


class ReadsAll:
    """An app that reads the whole body and answers nothing."""

    def __init__(self) -> None:
        self.received = b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        message: Message = {"more_body": True}
        while message.get("more_body"):
            message = await receive()
            self.received += message["body"]


@pytest.mark.parametrize("chunks", [[b""], [b"x" * LIMIT], [b"x"] * LIMIT])
async def test_a_body_within_the_limit_passes(chunks: list[bytes]) -> None:
    app = ReadsAll()
    await Client(*body_messages(*chunks)).call(BodyLimit(app, LIMIT), http_scope())
    assert app.received == b"".join(chunks)


@pytest.mark.parametrize("declared", ["11", "999999999", "9" * 5000, "00000000011"])
async def test_a_declared_body_over_the_limit_is_refused_before_the_app_sees_it(declared: str) -> None:
    app, client = ReadsAll(), Client()
    await client.call(BodyLimit(app, LIMIT), http_scope(headers={"Content-Length": declared}))
    assert client.status == 413
    assert client.json()["code"] == "body_too_large"
    assert "10 bytes" in client.json()["detail"]
    assert app.received == b""


async def test_a_chunked_body_is_counted_while_it_arrives() -> None:
    app = ReadsAll()
    with pytest.raises(BodyTooLarge):
        await Client(*body_messages(*[b"xxx"] * 100)).call(BodyLimit(app, LIMIT), http_scope())
    assert len(app.received) <= LIMIT


@pytest.mark.parametrize("declared", ["", "-5", "abc", "3"])
async def test_a_declaration_that_lies_is_counted_too(declared: str) -> None:
    client = Client(*body_messages(b"x" * 11))
    with pytest.raises(BodyTooLarge):
        await client.call(BodyLimit(ReadsAll(), LIMIT), http_scope(headers={"Content-Length": declared}))
