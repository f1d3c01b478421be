from __future__ import annotations

from fastapi import APIRouter, FastAPI

from app.api.errors.allowed_methods import allowed_methods
from tests.unit.api.asgi import http_scope


async def nothing() -> None: ...


def test_it_names_the_methods_of_every_route_at_the_path() -> None:
    router = APIRouter(prefix="/below")
    router.add_api_route("/x/{name}", nothing, methods=["GET"])
    router.add_api_route("/x/{name}", nothing, methods=["POST"])
    router.add_api_route("/y", nothing, methods=["DELETE"])
    app = FastAPI()
    app.include_router(router)
    assert allowed_methods({**http_scope("/below/x/1", method="PUT"), "app": app}) == "GET, HEAD, POST, OPTIONS"
    assert allowed_methods({**http_scope("/below/y"), "app": app}) == "DELETE, OPTIONS"
    assert allowed_methods({**http_scope("/elsewhere"), "app": app}) == ""
