from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from itertools import pairwise

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.streams.framing import ServerSentEvents
from app.services.diffusion.models import DiffusionStreamEvent
from reynard_diffusion import ConnectionLost, GenerationTimeout, ServerFailed, UnexpectedAnswer
from reynard_diffusion.reading import ChatReader, EventReader, Fold

COMPLETE = DiffusionStreamEvent(
    type="complete", metadata={"model_id": "m", "processing_time": 1.0, "tokens_generated": 2, "seed": 3}
)

texts = st.text(st.characters(exclude_categories=["Cs"]))


class Pieces(httpx.SyncByteStream):
    """A body that arrives in the given pieces."""

    def __init__(self, body: bytes, cuts: list[int]) -> None:
        bounds = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
        self._pieces = [body[start:end] for start, end in pairwise(bounds)]

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces


@given(texts=st.lists(texts, max_size=8), cuts=st.lists(st.integers(0, 10_000), max_size=8))
def test_events_are_read_correctly_for_any_split_into_pieces(texts: list[str], cuts: list[int]) -> None:
    events = [*(DiffusionStreamEvent(type="token", data=text) for text in texts), COMPLETE]
    framing, reader = ServerSentEvents(), EventReader()
    body = b"".join(framing.write(0, event) + framing.keep_alive for event in events)
    lines = httpx.Response(200, stream=Pieces(body, cuts)).iter_lines()
    read = [asdict(event) for line in lines if (event := reader.feed(line)) is not None]
    assert read == [event.model_dump() for event in events]
    reader.finish()


def test_an_error_event_is_raised() -> None:
    told = {"code": "timeout", "request_id": "r1", "partial": True, "text": "so far"}
    event = DiffusionStreamEvent(type="error", data="no complete answer in time", metadata=told)
    with pytest.raises(GenerationTimeout, match="no complete answer") as caught:
        EventReader().feed(f"data: {event.model_dump_json()}")
    assert (caught.value.status, caught.value.partial_text, caught.value.request_id) == (None, "so far", "r1")


def test_a_stream_without_its_end_is_no_result() -> None:
    reader = EventReader()
    reader.feed('data: {"type": "token", "data": "x"}')
    with pytest.raises(ConnectionLost, match="broke off"):
        reader.finish()
    with pytest.raises(RuntimeError, match="closed before its end"):
        Fold().result()


@pytest.mark.parametrize(
    "line", ["data: {}", 'data: {"type": "song"}', "data: hello", "data: 3", "data: " + "[" * 100_000]
)
def test_a_line_that_is_no_event_is_named(line: str) -> None:
    with pytest.raises(UnexpectedAnswer, match=r"no event of a stream: 'data"):
        EventReader().feed(line)


def test_a_stream_whose_end_lacks_the_facts_of_a_result_has_none() -> None:
    fold, reader = Fold(), EventReader()
    for line in ('data: {"type": "token", "data": "x"}', 'data: {"type": "complete", "metadata": {"model_id": "m"}}'):
        event = reader.feed(line)
        assert event is not None
        fold.add(event)
    with pytest.raises(UnexpectedAnswer, match="GenerationResult has no processing_time"):
        fold.result()


def chunk(**choice: object) -> str:
    return f"data: {json.dumps({'choices': [choice]})}"


def test_a_conversation_s_chunks_give_its_text() -> None:
    reader = ChatReader()
    lines = [
        chunk(delta={"role": "assistant", "content": ""}),
        chunk(delta={"content": "Good "}),
        "event: diffusion.step",
        chunk(delta={"content": "day"}),
        chunk(delta={}, finish_reason="stop"),
        'data: {"choices": [], "usage": {}}',
        "data: [DONE]",
    ]
    assert [piece for line in lines if (piece := reader.feed(line)) is not None] == ["Good ", "day"]
    reader.finish()


def test_a_conversation_can_fail_and_break_off() -> None:
    with pytest.raises(ServerFailed, match="the model broke"):
        ChatReader().feed('data: {"error": {"message": "the model broke", "code": "generation_failed"}}')
    with pytest.raises(UnexpectedAnswer):
        ChatReader().feed('data: {"choices": [3]}')
    with pytest.raises(ConnectionLost):
        ChatReader().finish()
