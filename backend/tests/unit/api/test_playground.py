from __future__ import annotations

import re

import pytest
from starlette.types import ASGIApp

from app.api.playground import FOLDER, HEADERS
from app.core.settings import Settings
from app.server import create_app
from tests.unit.api.asgi import Client, http_scope

REFERENCE = re.compile(r'(?:src|href)="(?!#)(.*?)"|from "\./(.*?)"')


@pytest.fixture(scope="module")
def app() -> ASGIApp:
    return create_app(Settings.model_validate({"api_keys": "a-key"}))


async def ask(app: ASGIApp, path: str, method: str = "GET", **headers: str) -> Client:
    client = Client()
    await client.call(app, http_scope(path, method=method, headers={"Host": "localhost", **headers}))
    return client


@pytest.mark.parametrize("path", ["/", "/read"])
async def test_the_pages_need_no_key_and_bring_their_own_policy(app: ASGIApp, path: str) -> None:
    page = await ask(app, path)
    assert page.status == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert {name: page.headers[name.lower()] for name in HEADERS} == HEADERS
    assert page.headers["x-content-type-options"] == "nosniff"


async def test_every_file_that_is_named_is_there(app: ASGIApp) -> None:
    """And no file names another server."""
    waiting, seen = ["/"], {"/"}
    while waiting:
        answer = await ask(app, path := waiting.pop())
        assert answer.status == 200, path
        names = [page or f"playground/{module}" for page, module in REFERENCE.findall(answer.body.decode())]
        assert not [name for name in names if ":" in name], path
        waiting += {f"/{name.removeprefix('./')}" for name in names} - seen
        seen |= set(waiting)
    assert {path.removeprefix("/playground/") for path in seen - {"/", "/read"}} == {
        file.name for file in FOLDER.iterdir() if file.suffix != ".html"
    }


async def test_scripts_have_a_type_that_browsers_run(app: ASGIApp) -> None:
    script = await ask(app, "/playground/main.js")
    assert script.headers["content-type"].partition(";")[0] in ("text/javascript", "application/javascript")


async def test_a_cached_file_is_not_sent_again(app: ASGIApp) -> None:
    first = await ask(app, "/playground/style.css")
    again = await ask(app, "/playground/style.css", **{"If-None-Match": first.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    assert again.headers["cache-control"] == "no-cache"


async def test_head_has_no_body(app: ASGIApp) -> None:
    answer = await ask(app, "/", "HEAD")
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize("name", ["no-such.js", "..", ".", "../playground.py", "", "a\x00b", "a" * 400, "main.js/x"])
async def test_no_other_file_is_to_be_had(app: ASGIApp, name: str) -> None:
    answer = await ask(app, f"/playground/{name}")
    assert (answer.status, answer.json()["code"]) == (404, "not_found")


async def test_other_methods_are_refused(app: ASGIApp) -> None:
    answer = await ask(app, "/playground/main.js", "POST")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS")


@pytest.mark.parametrize("path", ["/read", "/playground/main.js"])
async def test_it_can_be_switched_off(path: str) -> None:
    answer = await ask(create_app(Settings.model_validate({"playground": False})), path)
    assert (answer.status, answer.json()["code"]) == (404, "not_found")


async def test_without_it_the_root_says_what_ollamas_command_line_asks_for() -> None:
    app = create_app(Settings.model_validate({"playground": False, "api_keys": "a-key"}))
    said, head = await ask(app, "/"), await ask(app, "/", "HEAD")
    assert (said.status, said.body, said.headers["content-type"]) == (
        200,
        b"Ollama is running",
        "text/plain; charset=utf-8",
    )
    assert (head.status, head.body) == (200, b"")
