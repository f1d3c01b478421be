"""Answers of an ingress over HTTP when Ray has no room for requests, or loses them."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from ray import exceptions
from ray.serve.exceptions import BackPressureError, RayServeException

from app.core.settings import Settings
from app.server import create_app
from tests.ray.world import START, World

pytestmark = pytest.mark.ray

errors: Any = exceptions
"""Ray's exceptions, which have no types."""

Json = dict[str, Any]
FULL = BackPressureError(num_queued_requests=64, max_queued_requests=64)
LOSSES = [
    (errors.ActorDiedError(), 503, "model_unavailable"),
    (errors.ActorUnavailableError("being started again", None), 503, "model_unavailable"),
    (RayServeException("an upstream actor died"), 503, "model_unavailable"),
    (errors.RaySystemError("lost"), 503, "model_unavailable"),
    (errors.OutOfMemoryError("killed"), 503, "out_of_memory"),
    (errors.GetTimeoutError("late"), 504, "timeout"),
]
CALLS: dict[str, tuple[str, Json]] = {
    "native": ("/api/diffusion/generate", {"text": "x", "model_id": "llada"}),
    "native stream": ("/api/diffusion/generate/stream", {"text": "x", "model_id": "llada"}),
    "native gap": ("/api/diffusion/infill", {"prefix": "x", "model_id": "llada"}),
    "llama.cpp": ("/infill", {"input_prefix": "x", "model": "llada"}),
    "Ollama": ("/api/generate", {"prompt": "x", "model": "llada"}),
    "text": ("/v1/completions", {"prompt": "x", "model": "llada"}),
    "text stream": ("/v1/completions", {"prompt": "x", "model": "llada", "stream": True}),
    "eight texts": ("/v1/completions", {"prompt": "x", "model": "llada", "n": 8}),
    "eight streams": ("/v1/completions", {"prompt": "x", "model": "llada", "n": 8, "stream": True}),
    "two prompts": ("/v1/completions", {"prompt": ["x", "y"], "model": "llada"}),
    "chat": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "model": "llada"}),
}


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    async with World.ready(max_concurrent_requests=8) as world:
        yield world


async def ask(world: World, path: str, body: Json) -> httpx.Response:
    transport = httpx.ASGITransport(create_app(Settings(), world.service))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        return await client.post(path, json=body)


def code_of(response: httpx.Response) -> str:
    answer = response.json()
    code: str = answer["code"] if "code" in answer else answer["error"]["code"]
    return code


@pytest.mark.parametrize("call", CALLS)
async def test_every_face_reports_an_overload_as_one(world: World, call: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    world.models["llada"].assignment_error = FULL
    response = await ask(world, *CALLS[call])
    assert (response.status_code, code_of(response)) == (503, "queue_full"), response.text
    assert int(response.headers["Retry-After"]) > 0
    assert not [record for record in caplog.records if record.levelno > logging.INFO or record.exc_info]
    assert sum(record.name == "app.api.observation.request_log" for record in caplog.records) == 1
    counted = world.service.statistics()
    assert (counted.requests_in_flight, counted.successful_requests) == (0, 0)


@pytest.mark.parametrize("call", ["native", "text stream", "eight texts", "llama.cpp"])
@pytest.mark.parametrize("place", ["call_error", "assignment_error", "error"])
async def test_an_error_of_ray_is_not_hidden_by_another_error(
    world: World, call: str, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    world.models["llada"].batches = []
    for error, status, code in LOSSES:
        caplog.clear()
        setattr(world.models["llada"], place, error)
        response = await ask(world, *CALLS[call])
        assert (response.status_code, code_of(response)) == (status, code), response.text
        assert not [record for record in caplog.records if record.exc_info]
        assert any(record.name == "app.ray.remote_model" for record in caplog.records)
        assert world.service.statistics().requests_in_flight == 0


async def test_a_call_that_cannot_be_cancelled_gives_one_error(world: World) -> None:
    """Ray cannot cancel a call whose replica has died."""
    world.models["llada"].batches, world.models["llada"].error = [[START]], errors.ActorDiedError()
    world.models["llada"].cancel_error = errors.RaySystemError("there is nobody to be told")
    response = await ask(world, "/api/diffusion/generate/stream", {"text": "x", "model_id": "llada"})
    last = json.loads(response.text.splitlines()[-1])
    assert (last["type"], last["metadata"]["code"]) == ("error", "model_unavailable")


async def test_running_and_queued_requests_are_limited_even_when_all_come_at_once() -> None:
    async with World.ready(max_concurrent_requests=2, max_queued_requests=3) as world:
        world.models["llada"].batches = [[START], None]
        path, body = CALLS["native"]
        asked = [asyncio.create_task(ask(world, path, body)) for _ in range(8)]
        done: set[asyncio.Task[httpx.Response]] = set()
        waiting = set(asked)
        while len(done) + len(world.models["llada"].results) < len(asked):
            ended, waiting = await asyncio.wait(waiting, timeout=0.01)
            done |= ended
        assert (len(done), len(waiting)) == (3, 5)
        assert {(task.result().status_code, code_of(task.result())) for task in done} == {(503, "queue_full")}
        assert len(world.models["llada"].results) == 5, "Serve hears of none of the others"
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
