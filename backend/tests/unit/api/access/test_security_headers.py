from __future__ import annotations

from starlette.responses import HTMLResponse

from app.api.access.security_headers import SECURITY_HEADERS, SecurityHeaders
from app.api.wire.json_encoding import JsonResponse
from tests.unit.api.asgi import Client, http_scope


async def test_every_answer_has_them() -> None:
    client = Client()
    await client.call(SecurityHeaders(JsonResponse({})), http_scope())
    assert {name: client.headers[name.lower()] for name in SECURITY_HEADERS} == SECURITY_HEADERS


async def test_a_page_may_bring_its_own() -> None:
    client, policy = Client(), "default-src 'self'"
    page = HTMLResponse("<p>", headers={"Content-Security-Policy": policy, "Cache-Control": "max-age=60"})
    await client.call(SecurityHeaders(page), http_scope())
    assert (client.headers["content-security-policy"], client.headers["cache-control"]) == (policy, "max-age=60")
    assert client.headers["x-content-type-options"] == "nosniff"
