from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.streams.framing import JsonLines, ServerSentEvents, framing_for
from app.services.diffusion.models import DiffusionStreamEvent

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def token(text: str) -> DiffusionStreamEvent:
    return DiffusionStreamEvent(type="token", data=text, timestamp=1.5, metadata={"n": 1})


def parse_server_sent_events(body: str) -> list[dict[str, str]]:
    """As the HTML standard parses them, line by line."""
    events: list[dict[str, str]] = [{}]
    for line in body.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        if not line:
            events.append({})
        elif not line.startswith(":"):
            name, _, value = line.partition(": ")
            events[-1][name] = value
    return [event for event in events if event]


@given(st.lists(TEXT, max_size=8))
def test_both_framings_carry_the_same_events(texts: list[str]) -> None:
    events = [token(text) for text in texts]
    sse, lines = ServerSentEvents(), JsonLines()
    from_sse = parse_server_sent_events(b"".join(sse.write(0, event) for event in events).decode())
    from_lines = b"".join(lines.write(0, event) for event in events).decode().splitlines()
    assert [json.loads(event["data"]) for event in from_sse] == [json.loads(line) for line in from_lines]
    assert [json.loads(line)["data"] for line in from_lines] == texts
    assert [event["id"] for event in from_sse] == [str(n) for n in range(len(texts))]


def test_a_server_sent_event_to_the_byte() -> None:
    assert (
        ServerSentEvents().write(0, token("hé\n"))
        == (
            'id: 0\nevent: token\ndata: {"type":"token","data":"hé\\n","timestamp":1.5,"metadata":{"n":1}}\n\n'
        ).encode()
    )


def test_a_json_line_to_the_byte() -> None:
    line = JsonLines().write(0, token("hé"))
    assert line == '{"type":"token","data":"hé","timestamp":1.5,"metadata":{"n":1}}\n'.encode()


@pytest.mark.parametrize("data", ["\ud800", float("nan"), object(), {"deep": ["\udfff"]}])
def test_every_item_of_a_model_becomes_an_event(data: Any) -> None:
    json.loads(JsonLines().write(0, DiffusionStreamEvent(type="step", data=data)))


@pytest.mark.parametrize(
    "accept",
    [
        "text/event-stream",
        "TEXT/Event-Stream",
        "text/event-stream, */*;q=0.1",
        "application/json, text/event-stream; q=0.5",
        "application/x-ndjson;q=0.2, text/event-stream;q=0.9",
        "text/event-stream;charset=utf-8",
        "application/json,text/event-stream",
    ],
)
def test_server_sent_events_where_they_are_asked_for(accept: str) -> None:
    assert isinstance(framing_for(accept), ServerSentEvents)


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "application/json",
        "application/x-ndjson",
        "text/*",
        "text/event-stream;q=0",
        "text/event-stream;q=x",
        "text/event-stream;q=0.5, application/x-ndjson",
        ";;;,,=,q=",
    ],
)
def test_json_lines_otherwise(accept: str) -> None:
    assert isinstance(framing_for(accept), JsonLines)
