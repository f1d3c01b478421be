"""Streams and disconnects, with a generation that gives the events of a script."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Generator
from typing import Any, cast

import pytest
from starlette.requests import ClientDisconnect, Request

from app.api.diffusion.service import collect, open_stream
from app.api.streams.byte_stream import ByteStream
from app.api.wire.disconnect import has_left
from app.services.diffusion import Generation
from app.services.diffusion.errors import Overloaded
from app.services.diffusion.models import DiffusionStreamEvent, GenerationResult
from tests.unit.api.asgi import DISCONNECT, Client, http_scope


class ScriptedGeneration:
    """Gives the events put into it, and its result when `finish` is called."""

    request_id = "generation-1"

    def __init__(self, *events: DiffusionStreamEvent, refusal: Exception | None = None) -> None:
        self.events: asyncio.Queue[DiffusionStreamEvent | None] = asyncio.Queue()
        self.refusal = refusal
        self.is_closed = False
        for event in events:
            self.events.put_nowait(event)

    def finish(self) -> None:
        self.events.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[DiffusionStreamEvent]:
        if self.refusal:
            raise self.refusal
        while (event := await self.events.get()) is not None:
            yield event

    def __await__(self) -> Generator[Any, None, GenerationResult]:
        return self._result().__await__()

    async def _result(self) -> GenerationResult:
        text = "".join([event.data async for event in self])
        return GenerationResult(text=text, model_id="m", processing_time=1.0, tokens_generated=1, metadata={})

    async def aclose(self) -> None:
        self.is_closed = True

    def as_generation(self) -> Generation:
        return cast(Generation, self)


async def opened(generation: ScriptedGeneration, asked: Request, silence_s: float = 60.0) -> ByteStream:
    return await open_stream(generation.as_generation(), asked, silence_s=silence_s)


def token(text: str) -> DiffusionStreamEvent:
    return DiffusionStreamEvent(type="token", data=text, timestamp=1.0)


def request(client: Client, accept: str = "") -> Request:
    return Request(http_scope(headers={"Accept": accept}), client.receive)


async def test_collects_the_result() -> None:
    generation, client = ScriptedGeneration(token("a"), token("b")), Client()
    generation.finish()
    asked = request(client)
    assert (await collect(generation.as_generation(), asked)).text == "ab"
    assert generation.is_closed


async def test_a_client_that_leaves_while_the_result_is_made_closes_the_generation() -> None:
    generation, client = ScriptedGeneration(token("a")), Client()
    asyncio.get_running_loop().call_later(0.01, client.say, DISCONNECT)
    with pytest.raises(ClientDisconnect):
        await collect(generation.as_generation(), request(client))
    assert generation.is_closed


async def test_a_client_that_leaves_while_it_waits_for_a_place_closes_the_generation() -> None:
    generation, client = ScriptedGeneration(), Client(DISCONNECT)
    with pytest.raises(ClientDisconnect):
        await opened(generation, request(client))
    assert generation.is_closed


async def test_a_refusal_is_raised_before_anything_is_sent() -> None:
    generation, client = ScriptedGeneration(refusal=Overloaded("full")), Client()
    with pytest.raises(Overloaded):
        await opened(generation, request(client))
    assert generation.is_closed
    assert client.sent == []


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [("", "application/x-ndjson"), ("text/event-stream", "text/event-stream; charset=utf-8")],
)
async def test_streams_every_event_and_ends(accept: str, content_type: str) -> None:
    generation, client = ScriptedGeneration(token("a"), token("é")), Client()
    generation.finish()
    asked = request(client, accept)
    await client.call(await opened(generation, asked), asked.scope)
    assert (client.status, client.headers["content-type"]) == (200, content_type)
    assert client.headers["cache-control"] == "no-store"
    assert client.headers["x-accel-buffering"] == "no"
    assert "content-length" not in client.headers
    assert client.body.count(b'"type":"token"') == 2
    assert client.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
    assert generation.is_closed


async def test_each_event_is_sent_separately() -> None:
    generation, client = ScriptedGeneration(token("a"), token("b")), Client()
    generation.finish()
    asked = request(client)
    await client.call(await opened(generation, asked), asked.scope)
    assert [json.loads(message["body"])["data"] for message in client.sent[1:-1]] == ["a", "b"]


async def test_a_client_that_leaves_in_mid_stream_closes_the_generation() -> None:
    generation, client = ScriptedGeneration(token("a")), Client()
    asked = request(client)
    asyncio.get_running_loop().call_later(0.01, client.say, DISCONNECT)
    before = asyncio.all_tasks()
    await client.call(await opened(generation, asked), asked.scope)
    assert generation.is_closed
    assert has_left(asked.scope)
    assert client.sent[-1]["more_body"] is True
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize(("accept", "sign"), [("text/event-stream", b": keep-alive\n\n"), ("", b"\n")])
async def test_silence_is_filled_with_signs_of_life(accept: str, sign: bytes) -> None:
    generation, client = ScriptedGeneration(token("a")), Client()
    asked = request(client, accept)
    asyncio.get_running_loop().call_later(0.1, generation.finish)
    await client.call(await opened(generation, asked, silence_s=0.01), asked.scope)
    assert b'"data":"a"' in client.sent[1]["body"]
    assert 2 <= [message.get("body") for message in client.sent].count(sign) <= 10


@pytest.mark.parametrize(("accept", "sign"), [("text/event-stream", b": keep-alive\n\n"), ("", b"\n")])
async def test_silence_before_the_first_event_is_filled_too(accept: str, sign: bytes) -> None:
    generation, client = ScriptedGeneration(), Client()
    asked = request(client, accept)
    response = await opened(generation, asked, silence_s=0.01)
    generation.events.put_nowait(token("at last"))
    generation.finish()
    await client.call(response, asked.scope)
    assert (client.status, client.sent[1]["body"]) == (200, sign)
    assert b'"data":"at last"' in client.sent[2]["body"]
