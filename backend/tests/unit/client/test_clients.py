"""Both clients against a server that answers as it is told."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from typing import Any

import pytest

from app.client import (
    AsyncDiffusionClient,
    ConnectionLost,
    DiffusionClient,
    DiffusionError,
    NotFound,
    Parameters,
    RateLimited,
    ServerUnreachable,
    Unavailable,
    UnexpectedAnswer,
)
from app.client.options import ClientOptions
from app.services.diffusion.models import Request
from tests.unit.client.scripted import EVENTS, PROBLEM, Answer, scripted

RESULT = {"model_id": "m", "processing_time": 1.0, "tokens_generated": 1, "metadata": {"seed": 3}}
GOOD = Answer(body=json.dumps({"generated_text": "text", **RESULT}))
BUSY = Answer(429, "{}", {"Retry-After": "0"}, PROBLEM)


def stream(*events: dict[str, Any]) -> Answer:
    return Answer(body="".join(f"data: {json.dumps(event)}\n\n" for event in events), media_type=EVENTS)


TOKEN = {"type": "token", "data": "text"}
COMPLETE = {"type": "complete", "metadata": {**RESULT, "seed": 3}}


async def generated(url: str, **options: Any) -> str:
    """What both clients say, which is the same."""
    with DiffusionClient(url, **options) as client:
        text = client.generate("x").text
    async with AsyncDiffusionClient(url, **options) as other:
        assert (await other.generate("x")).text == text
    return text


async def test_a_refused_call_is_made_again() -> None:
    with scripted(BUSY, BUSY, GOOD, BUSY, GOOD) as server:
        assert await generated(server.url) == "text"
        assert len(server.requests) == 5


@pytest.mark.parametrize(("options", "num_calls"), [({}, 3), ({"max_retries": 0}, 1), ({"max_retries": 5}, 6)])
async def test_not_for_ever_and_not_where_nobody_wants_it(options: dict[str, Any], num_calls: int) -> None:
    with scripted(BUSY) as server:
        with pytest.raises(RateLimited), DiffusionClient(server.url, **options) as client:
            client.generate("x")
        assert len(server.requests) == num_calls
        async with AsyncDiffusionClient(server.url, **options) as other:
            with pytest.raises(RateLimited):
                await other.generate("x")
        assert len(server.requests) == 2 * num_calls


async def test_a_stream_is_asked_for_again_until_it_has_begun() -> None:
    with scripted(BUSY, stream(TOKEN, COMPLETE), BUSY, stream(TOKEN, COMPLETE)) as server:
        with DiffusionClient(server.url) as client:
            assert client.generate_stream("x").result().text == "text"
        async with AsyncDiffusionClient(server.url) as other:
            assert (await other.generate_stream("x").result()).text == "text"
        assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (stream(TOKEN, {"type": "error", "data": "full", "metadata": {"code": "queue_full"}}), Unavailable),
        (stream(TOKEN), ConnectionLost),
    ],
)
async def test_and_never_afterwards(answer: Answer, kind: type[DiffusionError]) -> None:
    with scripted(answer) as server:
        with DiffusionClient(server.url) as client, client.generate_stream("x") as events:
            assert next(events).data == "text"
            with pytest.raises(kind):
                next(events)
        async with AsyncDiffusionClient(server.url) as other, other.generate_stream("x") as more:
            assert (await anext(more)).data == "text"
            with pytest.raises(kind):
                await anext(more)
        assert len(server.requests) == 2


async def test_nothing_is_asked_before_the_first_event_is_wanted() -> None:
    with scripted(GOOD) as server, DiffusionClient(server.url) as client:
        with client.generate_stream("x"):
            pass
        async with AsyncDiffusionClient(server.url) as other, other.infill_stream("x"):
            pass
        assert server.requests == []


async def test_keys_and_tokens_go_where_they_belong() -> None:
    health = Answer(503, json.dumps({"healthy": False, "status": "unhealthy", "models": {}, "devices": {}}))
    with scripted(GOOD, health) as server:
        with DiffusionClient(server.url, api_key="key", admin_token="token") as client:
            client.generate("x")
            assert server.header("Authorization") == "Bearer key"
            assert client.health().status == "unhealthy", "an answer, for all its status"
            assert server.header("Authorization") == "Bearer token"
        with DiffusionClient(server.url) as client:
            client.health()
            assert server.header("Authorization") is None
    assert len(server.requests) == 3, "and no refusal, in spite of its status"


@pytest.mark.parametrize("answer", [Answer(body="<html>", media_type="text/html"), Answer(body="[]"), Answer()])
def test_another_server_is_noticed(answer: Answer) -> None:
    with scripted(answer) as server, DiffusionClient(server.url) as client:
        for call in (client.ping, client.models, client.stats, lambda: client.generate_stream("x").result()):
            with pytest.raises(UnexpectedAnswer, match="check the URL"):
                call()


def test_an_id_of_a_model_cannot_leave_its_path() -> None:
    with scripted(Answer(404, "{}")) as server, DiffusionClient(server.url) as client:
        with pytest.raises(NotFound):
            client.reload("../../config?x=1")
        assert server.paths == ["/api/diffusion/admin/models/..%2F..%2Fconfig%3Fx%3D1/reload"]


async def test_nobody_there() -> None:
    url = "http://127.0.0.1:9"
    with DiffusionClient(url) as client, pytest.raises(ServerUnreachable, match="reynard-diffusion serve"):
        client.ping()
    async with AsyncDiffusionClient(url) as other:
        with pytest.raises(ServerUnreachable):
            await other.ping()


def test_a_proxy_has_no_business_on_one_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with scripted(GOOD) as server, DiffusionClient(server.url) as client:
        assert client.generate("x").text == "text"


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host", "http://", "http://host:99999", ""])
def test_what_is_no_url_is_named_at_once(url: str) -> None:
    with pytest.raises(ValueError, match=r"is no address of a server; give one such as http://localhost:8000"):
        DiffusionClient(url)


def test_what_no_header_can_carry_is_named_at_once() -> None:
    with pytest.raises(ValueError, match="look for a line end"):
        DiffusionClient(api_key="key\n")


def test_a_key_does_not_show() -> None:
    assert "hidden" not in repr(ClientOptions("http://host", "hidden", "hidden", 1, 1, 0, 0))


def test_the_two_clients_have_the_same_calls() -> None:
    def calls(client: type) -> dict[str, list[str]]:
        members = inspect.getmembers(client, inspect.isfunction)
        return {name: list(inspect.signature(call).parameters) for name, call in members if not name.startswith("_")}

    plain, other = calls(DiffusionClient), calls(AsyncDiffusionClient)
    assert other.pop("aclose") == plain.pop("close")
    assert plain == other
    assert inspect.signature(DiffusionClient) == inspect.signature(AsyncDiffusionClient)


def test_parameters_are_those_of_the_service() -> None:
    """Who adds a parameter to the service adds it to app/client/parameters.py."""
    assert set(Parameters.__annotations__) == set(Request.model_fields) - {"stream"}


def test_importing_the_client_imports_nothing_heavy() -> None:
    heavy = ["torch", "numpy", "fastapi", "tokenizers", "pydantic_settings"]
    code = f"import sys, app.client; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
