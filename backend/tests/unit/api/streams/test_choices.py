from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect, Request

from app.api.streams.byte_stream import ByteStream
from app.api.streams.choices import (
    IndexedEvents,
    close_choices,
    collect_choices,
    merged,
    seeds_from,
    start_choices,
    stream_choices,
)
from app.services.diffusion import (
    DiffusionGenerationParams,
    DiffusionInfillingParams,
    DiffusionLLMService,
    DiffusionStreamEvent,
    Generation,
    GenerationFailed,
    Overloaded,
)
from app.services.diffusion.models import Params
from tests.fakes import BreakingModel, GatedModel, SlowlyLoadingModel, WordsModel
from tests.profiles import examples
from tests.unit.api.asgi import DISCONNECT, Client, http_scope
from tests.unit.services.diffusion.serving import serving, until


def generations(service: DiffusionLLMService, *model_ids: str) -> list[Generation]:
    wanted = [DiffusionGenerationParams(text="x", model_id=model_id) for model_id in model_ids]
    return start_choices(service, wanted, request(Client()))


def request(client: Client) -> Request:
    return Request(http_scope(), client.receive)


class Lines:
    """A line for each event."""

    media_type = "text/event-stream"
    keep_alive = b": keep-alive\n\n"

    def write(self, index: int, event: DiffusionStreamEvent) -> bytes:
        return f"{index} {event.type} {event.metadata.get('code', '')}".strip().encode() + b"\n"

    def end(self) -> bytes:
        return b""


async def opened(asked: list[Generation], client: Client, silence_s: float = 60.0) -> ByteStream:
    return await stream_choices(asked, merged(asked), Lines(), request(client), silence_s=silence_s)


def test_seeds_follow_each_other() -> None:
    assert seeds_from(None, 2) == [None, None]
    assert seeds_from(2**63 - 2, 3) == [2**63 - 2, 2**63 - 1, 0]


async def test_infilling_and_generation_are_distinguished() -> None:
    model = WordsModel()
    async with serving(model) as service:
        wanted: list[Params] = [DiffusionInfillingParams(prefix="a"), DiffusionGenerationParams(text="a")]
        await collect_choices(start_choices(service, wanted, request(Client())), request(Client()))
    assert [type(params) for params in model.seen] == [DiffusionInfillingParams, DiffusionGenerationParams]


async def test_results_come_in_the_order_of_the_generations() -> None:
    async with serving(WordsModel(), WordsModel("other", ["x"])) as service:
        results = await collect_choices(generations(service, "words", "other", "words"), request(Client()))
    assert [result.text for result in results] == ["one two three", "x", "one two three"]


async def test_when_one_fails_the_others_are_given_up() -> None:
    gated = GatedModel()
    async with serving(gated, BreakingModel()) as service:
        with pytest.raises(GenerationFailed):
            await collect_choices(generations(service, "gated", "breaking"), request(Client()))
        counted = service.statistics()
    assert (counted.failed_requests, counted.cancelled_requests, gated.num_open) == (1, 1, 0)


async def test_all_choices_are_cancelled_when_the_client_leaves() -> None:
    gated, client = GatedModel(), Client()
    async with serving(gated) as service:
        collecting = asyncio.create_task(collect_choices(generations(service, "gated", "gated"), request(client)))
        await until(lambda: gated.num_open == 2)
        client.say(DISCONNECT)
        with pytest.raises(ClientDisconnect):
            await collecting
        assert service.statistics().cancelled_requests == 2
    assert gated.num_open == 0


async def test_events_of_all_arrive_as_they_happen() -> None:
    gated = GatedModel()
    async with serving(gated, WordsModel()) as service:
        seen: list[tuple[int, str]] = []
        async for index, event in merged(generations(service, "gated", "words")):
            seen.append((index, event.type))
            if (1, "complete") in seen:
                gated.release.set()
    assert [kind for index, kind in seen if index == 0] == ["start", "token", "token", "complete"]
    assert seen.index((1, "complete")) < seen.index((0, "complete"))


async def test_streams_of_any_kind_are_merged() -> None:
    async def numbers(count: int) -> AsyncGenerator[DiffusionStreamEvent, None]:
        for number in range(count):
            yield DiffusionStreamEvent(type="token", data=number)

    seen = [(index, event.data) async for index, event in merged([numbers(2), numbers(0), numbers(3)])]
    assert sorted(seen) == [(0, 0), (0, 1), (2, 0), (2, 1), (2, 2)]


async def test_a_refusal_comes_before_everything_else() -> None:
    async with serving(GatedModel(), max_concurrent_requests=1, max_queued_requests=0) as service:
        asked, client = generations(service, "gated", "gated"), Client()
        with pytest.raises(Overloaded):
            await opened(asked, client)
        assert client.sent == []
        assert service.statistics().requests_in_flight == 0


async def test_a_stream_leaves_piece_by_piece() -> None:
    async with serving(WordsModel()) as service:
        asked, client = generations(service, "words"), Client()
        response = await opened(asked, client)
        await client.call(response, http_scope())
    assert client.headers["content-type"].startswith("text/event-stream")
    assert [message["body"] for message in client.sent[1:-1]] == [b"0 start\n", *[b"0 token\n"] * 3, b"0 complete\n"]


async def test_a_client_that_leaves_in_mid_stream_ends_all() -> None:
    gated, client = GatedModel(), Client()
    async with serving(gated) as service:
        asked = generations(service, "gated", "gated")
        response = await opened(asked, client)
        calling = asyncio.create_task(client.call(response, http_scope()))
        await until(lambda: gated.num_open == 2)
        client.say(DISCONNECT)
        await calling
        assert service.statistics().cancelled_requests == 2


async def test_closing_what_never_began_does_nothing() -> None:
    async with serving(WordsModel()) as service:
        await close_choices(generations(service, "words"))
        assert service.statistics().total_requests == 0


# -- silence before the first event ------------------------------------------------------------------------------------

SIGN = b": keep-alive\n\n"


@asynccontextmanager
async def crowded(**settings: Any) -> AsyncIterator[tuple[DiffusionLLMService, GatedModel]]:
    """A service whose only place is taken until its model is released."""
    gated = GatedModel()
    async with serving(gated, WordsModel(), max_concurrent_requests=1, **settings) as service:
        holding = service.generate_stream("x")
        await holding.accepted()
        yield service, gated
        await holding.aclose()


async def test_a_stream_that_has_to_wait_gives_a_sign_of_life_and_then_its_events() -> None:
    async with crowded() as (service, gated):
        asked, client = generations(service, "words"), Client()
        response = await opened(asked, client, silence_s=0.01)
        calling = asyncio.create_task(client.call(response, http_scope()))
        await until(lambda: [message.get("body") for message in client.sent].count(SIGN) >= 2)
        gated.release.set()
        await calling
    assert client.status == 200
    assert client.body.replace(SIGN, b"") == b"0 start\n" + b"0 token\n" * 3 + b"0 complete\n"


async def test_a_stream_that_waits_for_its_model_gives_one_too() -> None:
    slow = SlowlyLoadingModel()
    async with serving(WordsModel()) as service:
        service.register_model(slow)
        asked, client = generations(service, "slow", "slow"), Client()
        response = await opened(asked, client, silence_s=0.01)
        slow.may_load.set()
        await client.call(response, http_scope())
    assert client.body.startswith(SIGN)
    assert client.body.count(b"complete") == 2


async def test_an_error_after_the_head_was_sent_is_the_last_event() -> None:
    async with crowded() as (service, _):
        await service.configure({"timeout_seconds": 0.2})  # whoever holds the place came under the longer deadline
        asked, client = generations(service, "words", "words"), Client()
        await client.call(await opened(asked, client, silence_s=0.01), http_scope())
    assert client.status == 200
    assert client.body.replace(SIGN, b"") == b"0 error timeout\n"


async def test_a_client_that_leaves_while_it_waits_frees_its_place_in_the_queue_at_once() -> None:
    async with crowded(max_queued_requests=1) as (service, _):
        asked, client = generations(service, "words"), Client()
        calling = asyncio.create_task(client.call(await opened(asked, client, silence_s=0.01), http_scope()))
        await until(lambda: client.body.startswith(SIGN))
        assert service.observation().num_waiting == 1
        client.say(DISCONNECT)
        await calling
        assert service.observation().num_waiting == 0
        assert (service.statistics().cancelled_requests, service.statistics().requests_in_flight) == (1, 1)


@examples(40)
@given(st.integers(0, 40), st.integers(0, 40))
def test_a_failure_is_a_status_or_an_event_and_never_both_or_neither(failing_ms: int, silent_ms: int) -> None:
    """However near the failure comes to the moment at which the head leaves."""

    async def failing() -> IndexedEvents:
        await asyncio.sleep(failing_ms / 4000)
        for _ in range(1):
            raise Overloaded("full")
        yield 0, DiffusionStreamEvent(type="start")

    async def run() -> None:
        client = Client()
        try:
            response = await stream_choices([], failing(), Lines(), request(client), silence_s=silent_ms / 4000)
        except Overloaded:
            assert client.sent == []
            return
        await client.call(response, http_scope())
        assert client.body.removeprefix(SIGN).replace(SIGN, b"") == b"0 error queue_full\n"

    asyncio.run(run())
