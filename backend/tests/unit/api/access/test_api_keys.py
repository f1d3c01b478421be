from __future__ import annotations

from typing import Any

import pytest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.access.api_keys import ApiKeys, key_name
from tests.unit.api.asgi import Client, http_scope

KEYS = ("first-key", "second-key")
PATH = "/api/diffusion/generate"


class Inside:
    """The app behind the keys; remembers by which name the caller was let in."""

    def __init__(self) -> None:
        self.names: list[str | None] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.names.append(key_name(scope))
        await Response()(scope, receive, send)


async def call(headers: Any, path: str = PATH, method: str = "POST") -> tuple[Client, Inside]:
    client, inside = Client(), Inside()
    await client.call(ApiKeys(inside, KEYS), http_scope(path, method=method, headers=headers))
    return client, inside


@pytest.mark.parametrize("key", KEYS)
async def test_each_key_opens_in_either_header(key: str) -> None:
    for headers in ({"Authorization": f"Bearer {key}"}, {"authorization": f"bearer  {key} "}, {"X-API-Key": key}):
        client, inside = await call(headers)
        assert client.status == 200
        assert len(inside.names) == 1


async def test_a_wrong_header_beside_a_right_one_does_no_harm() -> None:
    client, _ = await call({"Authorization": "Bearer of-a-proxy", "X-API-Key": KEYS[0]})
    assert client.status == 200


@pytest.mark.parametrize(
    "headers",
    [{}, {"X-API-Key": ""}, {"X-API-Key": "first-key,second-key"}, {"X-API-Key": "\xff"}, {"X-API-Key": "First-Key"},
     {"Authorization": "Bearer"}, {"Authorization": "Basic first-key"}, {"Authorization": "first-key"}],
)  # fmt: skip
async def test_anything_else_is_refused_with_the_way_out(headers: dict[str, str]) -> None:
    client, inside = await call(headers)
    assert (client.status, client.json()["code"]) == (401, "api_key_required")
    assert client.headers["www-authenticate"] == "Bearer"
    assert "X-API-Key" in client.json()["detail"]
    assert inside.names == []


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/health/live"), ("GET", "/"), ("GET", "/api/diffusion/admin/stats"), ("POST", "/api/diffusion/config")],
)
async def test_open_paths_and_admin_calls_need_none(method: str, path: str) -> None:
    client, inside = await call({}, path, method)
    assert client.status == 200
    assert inside.names == [None]


@pytest.mark.parametrize("path", ["/api/diffusion/models", "/api/diffusion/config", "/openapi.json", "/no-such"])
async def test_reading_needs_one_too(path: str) -> None:
    client, _ = await call({}, path, "GET")
    assert client.status == 401


async def test_the_name_of_a_key_is_unique_and_does_not_reveal_it() -> None:
    _, first = await call({"X-API-Key": KEYS[0]})
    _, again = await call({"Authorization": f"Bearer {KEYS[0]}"})
    _, other = await call({"X-API-Key": KEYS[1]})
    assert first.names == again.names != other.names
    assert KEYS[0] not in str(first.names)
