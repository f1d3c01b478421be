from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI

from app.api.errors.form import form_of
from app.api.errors.openai_problem import OPENAI_FORM
from app.api.wire.kinds import is_admin_call, is_generating_call, is_open_call, is_probe
from app.core.settings import Settings
from app.server import create_app
from tests.unit.api.asgi import Client, http_scope

OPEN = {("GET", "/health"), ("GET", "/health/live"), ("GET", "/health/ready")}
ADMIN = {("GET", "/metrics"), ("POST", "/api/diffusion/config")}


def documented_calls(app: FastAPI) -> list[tuple[str, str]]:
    paths = app.openapi()["paths"]
    return [(method.upper(), path) for path, methods in paths.items() for method in methods]


@pytest.mark.parametrize(
    ("method", "path", "kinds"),
    [
        ("GET", "/", {"open"}),
        ("GET", "/read", {"open"}),
        ("GET", "/playground/main.js", {"open"}),
        ("GET", "/health/live", {"open"}),
        ("GET", "/api/diffusion/models", set()),
        ("GET", "/api/diffusion/config", set()),
        ("POST", "/api/diffusion/config", {"admin"}),
        ("GET", "/api/diffusion/admin/stats", {"admin"}),
        ("POST", "/api/diffusion/admin/cleanup", {"admin"}),
        ("GET", "/metrics", {"admin"}),
        ("POST", "/api/diffusion/generate", {"generating"}),
        ("POST", "/api/diffusion/infill/stream", {"generating"}),
        ("POST", "/no-such", {"generating"}),
        ("POST", "/infill", {"generating"}),
        ("POST", "/v1/chat/completions", {"generating"}),
        ("GET", "/v1/models", set()),
        ("GET", "/props", set()),
        ("GET", "/health", {"open"}),
        ("GET", "/openapi.json", set()),
    ],
)
def test_kinds(method: str, path: str, kinds: set[str]) -> None:
    scope = http_scope(path, method=method)
    found = {"open": is_open_call(scope), "admin": is_admin_call(scope), "generating": is_generating_call(scope)}
    assert {kind for kind, is_one in found.items() if is_one} == kinds


def test_probes_are_known_by_their_path() -> None:
    assert all(is_probe(http_scope(path)) for path in ("/health", "/health/live", "/health/ready", "/metrics"))
    assert not any(is_probe(http_scope(path)) for path in ("/", "/metrics/more", "/v1/models"))


def code_of(error: Any) -> str:
    """The code in any form of an error."""
    if "error_type" in (detail := error.get("detail", "")):
        return str(detail["error_type"])
    inner = error.get("error")
    return str((inner if isinstance(inner, dict) else error)["code"])


async def test_no_route_is_open_by_accident() -> None:
    """A stranger on the network, without key or token, gets nothing but the health of the process."""
    app = create_app(Settings.model_validate({"api_keys": "a-key"}))
    for method, path in documented_calls(app):
        client = Client()
        scope = http_scope(path, method=method, headers={"Host": "localhost"}, client=("192.0.2.7", 50_000))
        await client.call(app, scope)
        if (method, path) in OPEN:
            assert client.status != 401, path
        else:
            is_admin = (method, path) in ADMIN or "/admin/" in path
            expected = (403, "loopback_only") if is_admin else (401, "api_key_required")
            if form_of(scope) is OPENAI_FORM:
                expected = (401, "invalid_api_key")
            assert (client.status, code_of(client.json())) == expected, (method, path)
