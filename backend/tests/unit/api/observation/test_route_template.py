from __future__ import annotations

import pytest
from fastapi import APIRouter, FastAPI

from app.api.observation.route_template import route_of
from tests.unit.api.asgi import Client, http_scope


async def answer() -> None: ...


def application() -> FastAPI:
    inner, outer = APIRouter(prefix="/admin"), APIRouter(prefix="/api")
    inner.add_api_route("/models/{model_id}", answer, methods=["POST"])
    outer.include_router(inner)
    app = FastAPI()
    app.include_router(outer)
    app.add_api_route("/plain", answer, methods=["POST"])
    app.add_api_route("/files/{path:path}", answer, methods=["POST"])
    return app


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/api/admin/models/dreamon", "/api/admin/models/{model_id}"),
        ("/plain", "/plain"),
        ("/files/made/up/plain", "/files/{path:path}"),
        ("/made/up", ""),
        ("/api/admin/models/made/up", ""),
    ],
)
async def test_a_path_becomes_the_template_of_its_route(path: str, template: str) -> None:
    scope = http_scope(path)
    await Client().call(application(), scope)
    assert route_of(scope) == template


async def test_a_method_that_the_path_does_not_have_changes_nothing() -> None:
    scope = http_scope("/api/admin/models/dreamon", method="GET")
    client = Client()
    await client.call(application(), scope)
    assert client.status == 405
    assert route_of(scope) == "/api/admin/models/{model_id}"
