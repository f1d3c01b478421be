"""Whatever an event says, any reader of either framing gets exactly that, wherever the network cuts the bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from app.api.streams.framing import Framing, JsonLines, ServerSentEvents, framing_for
from app.services.diffusion.models import DiffusionStreamEvent
from tests.fuzz.event_stream import lines_of, messages_of
from tests.fuzz.examples import fuzzed

BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029\ufeff\0"
TEXT = st.text(st.sampled_from(BREAKS + ": a") | st.characters(exclude_categories=["Cs"]), max_size=30)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
EVENTS = st.lists(
    st.builds(
        DiffusionStreamEvent,
        type=st.sampled_from(["start", "token", "step", "complete", "error"]),
        data=VALUES,
        timestamp=st.floats(0, 1e10),
        metadata=st.dictionaries(TEXT, VALUES, max_size=3),
    ),
    max_size=5,
)


def cut(data: st.DataObject, whole: bytes) -> Iterator[bytes]:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        yield whole[start:end]


def encoded(framing: Framing, events: list[DiffusionStreamEvent], data: st.DataObject) -> bytes:
    """The stream, with keep-alives wherever there may be some."""
    silence = framing.keep_alive
    pieces = [silence * data.draw(st.integers(0, 2)) + framing.write(0, event) for event in events]
    return b"".join(pieces) + silence


def as_sent(events: list[DiffusionStreamEvent]) -> list[Any]:
    return [event.model_dump() for event in events]


@fuzzed
@given(EVENTS, st.data())
def test_server_sent_events(events: list[DiffusionStreamEvent], data: st.DataObject) -> None:
    messages = messages_of(cut(data, encoded(ServerSentEvents(), events, data)))
    assert [json.loads(message.data) for message in messages] == as_sent(events)
    assert [message.event for message in messages] == [event.type for event in events]
    assert [message.last_event_id for message in messages] == [str(number) for number in range(len(events))]


@fuzzed
@given(EVENTS, st.data())
def test_json_lines(events: list[DiffusionStreamEvent], data: st.DataObject) -> None:
    assert lines_of(cut(data, encoded(JsonLines(), events, data))) == as_sent(events)


@fuzzed
@given(st.text(st.characters(max_codepoint=255), max_size=200))
@example("text/event-stream;q=1e999")
@example("text/event-stream;q=-inf,application/x-ndjson;q=nan")
def test_any_accept_header_chooses_a_framing(accept: str) -> None:
    assert framing_for(accept).media_type in ("text/event-stream", "application/x-ndjson")
