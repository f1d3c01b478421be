from __future__ import annotations

import pytest
from starlette.types import Receive, Scope, Send

from app.api.errors.unexpected_errors import UnexpectedErrors
from app.api.wire.request_id import RequestId
from tests.unit.api.asgi import Client, http_scope


async def break_at_once(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError("internal cause")


async def break_later(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"some", "more_body": True})
    raise RuntimeError("internal cause")


async def test_is_answered_without_its_cause_and_logged_with_it(caplog: pytest.LogCaptureFixture) -> None:
    client = Client()
    await client.call(RequestId(UnexpectedErrors(break_at_once)), http_scope())
    assert client.status == 500
    assert client.json()["code"] == "internal_error"
    assert client.json()["request_id"] == client.headers["x-request-id"]
    assert b"internal cause" not in client.body
    (record,) = caplog.records
    assert record.request_id == client.headers["x-request-id"]  # type: ignore[attr-defined]
    assert "internal cause" in caplog.text


async def test_a_stream_that_has_begun_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    client = Client()
    await client.call(UnexpectedErrors(break_later), http_scope())
    assert client.body == b"some"
    assert client.sent[-1]["more_body"] is True
    assert "internal cause" in caplog.text
