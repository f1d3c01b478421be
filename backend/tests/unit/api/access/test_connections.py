"""Tests that need no socket; the rest is in `tests/api/test_slow_clients.py` and `test_connections.py` there."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from unittest.mock import Mock

import pytest
from starlette.responses import Response
from uvicorn import Config
from uvicorn import __version__ as uvicorn_version
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from app.api.access.connections import Connection, ConnectionLimit, connection_type
from tests.unit.api.asgi import Client, http_scope


async def call(method: str, path: str, *, is_surplus: bool) -> Client:
    scope, client = http_scope(path, method=method), Client()
    scope["state"]["is_surplus"] = is_surplus
    await client.call(ConnectionLimit(Response("inside")), scope)
    return client


@pytest.mark.parametrize(("method", "path"), [("POST", "/api/diffusion/generate"), ("GET", "/api/diffusion/models")])
async def test_a_request_on_a_surplus_connection_is_refused(method: str, path: str) -> None:
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


@contextmanager
def connected(client_timeout_s: float = 60.0) -> Iterator[tuple[Connection, Mock]]:
    """A connection as uvicorn makes it, and the transport that stands for its socket."""
    config = Config(Response(""), log_config=None)
    config.load()
    connection = connection_type(client_timeout_s=client_timeout_s, max_connections=10)(config, ServerState(), {})
    transport = Mock(spec=asyncio.Transport)
    transport.get_write_buffer_size.return_value = 65_536
    transport.get_extra_info.side_effect = lambda name: Mock() if name == "socket" else None
    connection.connection_made(transport)
    yield connection, transport
    connection.connection_lost(None)


@pytest.mark.parametrize("reads", [True, False])
async def test_a_buffer_that_is_always_as_full_is_no_sign_of_a_client_that_does_not_read(reads: bool) -> None:
    with connected(client_timeout_s=0.2) as (connection, transport):
        for _ in range(20):
            connection.pause_writing()
            await asyncio.sleep(0.02)
            if reads:
                connection.resume_writing()
        assert transport.abort.called is not reads


# -- what is private to uvicorn ----------------------------------------------------------------------------------------

ANNOUNCEMENT = f"uvicorn {uvicorn_version} has changed what `Connection` relies on"


def test_uvicorn_still_has_the_methods_that_are_replaced() -> None:
    replaced = [name for name, member in vars(Connection).items() if inspect.isfunction(member) and name[0] != "_"]
    assert "send_400_response" in replaced
    gone = [name for name in replaced if name not in vars(H11Protocol)]
    assert not gone, f"{ANNOUNCEMENT}: H11Protocol has no {', '.join(gone)}"


async def test_uvicorn_still_has_the_attributes_that_are_read() -> None:
    """The names are read off the source, such as `cycle.response_complete`, and looked up during a request."""
    used = set(re.findall(r"\bself\.([a-z]\w*(?:\.[a-z]\w*)?)", inspect.getsource(Connection)))
    assert "app_state" in used
    with connected() as (connection, _):
        connection.data_received(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        gone = sorted(name for name in used if not has(connection, name))
        await asyncio.gather(*connection.tasks)
    assert not gone, f"{ANNOUNCEMENT}: a connection has no {', '.join(gone)}"


def has(connection: Connection, name: str) -> bool:
    try:
        attrgetter(name)(connection)
    except AttributeError:
        return False
    return True
