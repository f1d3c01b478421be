"""What needs no socket; the rest is in `tests/api/test_slow_clients.py` and `test_connections.py` there."""

from __future__ import annotations

import asyncio
from unittest.mock import Mock

import pytest
from starlette.responses import Response
from uvicorn import Config
from uvicorn.server import ServerState

from app.api.access.connections import Connection, ConnectionLimit, connection_type
from tests.unit.api.asgi import Client, http_scope


async def call(method: str, path: str, *, is_surplus: bool) -> Client:
    scope, client = http_scope(path, method=method), Client()
    scope["state"]["is_surplus"] = is_surplus
    await client.call(ConnectionLimit(Response("inside")), scope)
    return client


@pytest.mark.parametrize(("method", "path"), [("POST", "/api/diffusion/generate"), ("GET", "/api/diffusion/models")])
async def test_what_is_asked_on_a_surplus_connection_is_refused(method: str, path: str) -> None:
    assert (await call(method, path, is_surplus=False)).status == 200
    refusal = await call(method, path, is_surplus=True)
    assert (refusal.status, refusal.json()["code"]) == (503, "too_many_connections")
    assert int(refusal.headers["retry-after"]) > 0


@pytest.mark.parametrize("path", ["/health/live", "/metrics", "/api/diffusion/admin/stats"])
async def test_operators_are_answered_just_then(path: str) -> None:
    assert (await call("GET", path, is_surplus=True)).status == 200


def test_servers_do_not_share_their_limits() -> None:
    one, other = (connection_type(client_timeout_s=1.0, max_connections=number) for number in (1, 2))
    assert (one.max_connections, other.max_connections) == (1, 2)
    assert issubclass(one, Connection)


@pytest.mark.parametrize("reads", [True, False])
async def test_a_buffer_that_is_always_as_full_is_no_sign_of_a_client_that_does_not_read(reads: bool) -> None:
    config = Config(Response(""), log_config=None)
    config.load()
    connection = connection_type(client_timeout_s=0.2, max_connections=10)(config, ServerState(), {})
    transport = Mock(spec=asyncio.Transport)
    transport.get_write_buffer_size.return_value = 65_536
    connection.connection_made(transport)
    for _ in range(20):
        connection.pause_writing()
        await asyncio.sleep(0.02)
        if reads:
            connection.resume_writing()
    assert transport.abort.called is not reads
    connection.connection_lost(None)
