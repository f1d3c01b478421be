from __future__ import annotations

import json

import pytest

from tests.api.plugin_models import words
from tests.api.serving import Json, Server

SSE = "text/event-stream"

REQUESTS: list[tuple[str, str, Json]] = [
    ("/generate", "generated_text", {"text": "def fibonacci(n):", "model_id": "dreamon", "max_length": 16}),
    ("/generate", "generated_text", {"text": "Once upon a time", "model_id": "llada", "max_length": 24}),
    ("/infill", "infilled_text", {"prefix": "if x", "suffix": "return x", "model_id": "dreamon", "max_length": 16}),
    ("/infill", "infilled_text", {"prefix": "The fox", "suffix": "the dog", "model_id": "llada", "max_length": 12}),
    ("/generate", "generated_text", {"text": "漢字 and 🙂", "model_id": "words", "max_length": 40}),
    ("/infill", "infilled_text", {"prefix": "é", "suffix": "", "model_id": "words", "max_length": 40}),
]
IDS = [f"{body['model_id']}-{path[1:]}" for path, _, body in REQUESTS]


def text_of(events: list[Json]) -> str:
    return "".join(event["data"] for event in events if event["type"] == "token")


@pytest.mark.parametrize(("path", "field", "body"), REQUESTS, ids=IDS)
def test_streamed_text_is_the_plain_text_to_the_byte(server: Server, path: str, field: str, body: Json) -> None:
    for seed in range(10):
        asked = {**body, "seed": seed, "temperature": 1.2}
        plain = server.answer(path, asked)[field]
        assert text_of(server.events(f"{path}/stream", asked)).encode() == plain.encode()
        assert text_of(server.events(f"{path}/stream", asked, SSE)).encode() == plain.encode()


@pytest.mark.parametrize(("path", "field", "body"), REQUESTS, ids=IDS)
def test_a_stream_begins_with_start_and_ends_with_complete(server: Server, path: str, field: str, body: Json) -> None:
    events = server.events(f"{path}/stream", {**body, "seed": 5})
    assert [event["type"] for event in events] == ["start", *["token"] * (len(events) - 2), "complete"]
    for event in events:
        assert set(event) == {"type", "data", "timestamp", "metadata"}
    times = [event["timestamp"] for event in events]
    assert times == sorted(times)
    start, complete = events[0]["metadata"], events[-1]["metadata"]
    assert {"request_id", "model_id", "device", "seed", "prompt_tokens"} <= start.keys()
    assert start["seed"] == complete["seed"] == 5
    assert start["request_id"] == complete["request_id"]
    plain = server.answer(path, {**body, "seed": 5})
    assert plain["metadata"].keys() == complete.keys()
    assert plain["tokens_generated"] == complete["tokens_generated"]


def test_awkward_characters_arrive_whole(server: Server) -> None:
    body = {"text": "x", "model_id": "words", "max_length": 60, "seed": 9, "repetition_penalty": 1.0}
    for accept in ("*/*", SSE):
        events = server.events("/generate/stream", body, accept)
        assert [event["data"] for event in events if event["type"] == "token"] == words(9, 60)


def test_text_that_is_no_unicode_still_makes_valid_json(server: Server) -> None:
    body = {"text": "x", "model_id": "surrogates"}
    assert server.answer("/generate", body)["generated_text"] == "half ? pair"
    assert text_of(server.events("/generate/stream", body)) == "half ? pair"


def test_server_sent_events_to_the_letter(server: Server) -> None:
    body = {"text": "x", "model_id": "words", "max_length": 3, "seed": 1}
    response = server.post("/generate/stream", body, headers={"Accept": SSE})
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    blocks = response.content.decode("utf-8").split("\n\n")
    assert blocks.pop() == ""
    for number, block in enumerate(blocks):
        identity, kind, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert (identity, kind) == (f"id: {number}", f"event: {event['type']}")


def test_json_lines_to_the_letter(server: Server) -> None:
    response = server.post("/generate/stream", {"text": "x", "model_id": "words", "max_length": 30, "seed": 1})
    assert response.headers["content-type"] == "application/x-ndjson"
    text = response.content.decode("utf-8")
    assert text.endswith("\n")
    assert len(text.splitlines()) == text.count("\n") == 32, "a line is a line for every way of splitting"


def test_headers_keep_proxies_from_holding_a_stream_back(server: Server) -> None:
    response = server.post("/generate/stream", {"text": "x", "model_id": "words", "max_length": 1})
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-accel-buffering"] == "no"
    assert response.headers["transfer-encoding"] == "chunked"


def test_events_arrive_while_the_model_is_at_work(server: Server) -> None:
    with server.post("/generate/stream", {"text": "x", "model_id": "endless"}, stream=True) as response:
        lines = (json.loads(line) for line in response.iter_lines() if line)
        assert next(lines)["type"] == "start"
        assert {next(lines)["type"] for _ in range(20)} == {"token"}, "while a model works that never ends"
    server.wait_until_idle()


@pytest.mark.parametrize("model_id", ["dreamon", "llada"])
def test_canvas_mode_adds_steps_and_changes_no_text(server: Server, model_id: str) -> None:
    body: Json = {"text": "Once upon", "model_id": model_id, "max_length": 16, "seed": 2}
    plain = server.events("/generate/stream", body)
    canvas = server.events("/generate/stream", {**body, "stream_mode": "canvas"}, SSE)
    assert not [event for event in plain if event["type"] == "step"]
    steps = [event["data"] for event in canvas if event["type"] == "step"]
    assert steps
    assert all({"canvas", "committed", "expanded", "deleted", "step", "nfe"} <= step.keys() for step in steps)
    assert [step["nfe"] for step in steps] == sorted(step["nfe"] for step in steps)
    assert text_of(canvas) == text_of(plain)


def test_a_stop_string_ends_text_and_stream_alike(server: Server) -> None:
    body = {"text": "x", "model_id": "words", "max_length": 60, "seed": 9, "stop": ["plain "]}
    expected = "".join(words(9, 60)).split("plain ")[0]
    plain = server.answer("/generate", body)
    assert plain["generated_text"] == expected == text_of(server.events("/generate/stream", body))
    assert plain["metadata"]["finish_reason"] == "stop"


@pytest.mark.parametrize("model_id", ["dreamon", "llada"])
def test_a_stop_string_in_the_first_step_leaves_its_canvas(server: Server, model_id: str) -> None:
    body: Json = {"text": "Once upon", "model_id": model_id, "max_length": 1, "seed": 2}
    stop = server.answer("/generate", body)["generated_text"][0]
    events = server.events("/generate/stream", {**body, "stop": stop, "stream_mode": "canvas"})
    assert [event["type"] for event in events] == ["start", "step", "complete"]
    assert (events[1]["data"]["step"], events[2]["metadata"]["stop_string"]) == (1, stop)


def test_a_failure_in_mid_stream_is_the_last_event(server: Server) -> None:
    events = server.events("/generate/stream", {"text": "x", "model_id": "breaks-later"})
    assert [event["type"] for event in events] == ["start", "token", "error"]
    assert events[-1]["metadata"]["code"] == "generation_failed"
    assert events[-1]["metadata"]["request_id"] == events[0]["metadata"]["request_id"]
    assert "cause that no client may read" not in json.dumps(events)


def test_a_timeout_in_mid_stream_is_the_last_event(server: Server) -> None:
    with server.configured(timeout_seconds=0.3):
        events = server.events("/generate/stream", {"text": "x", "model_id": "endless"})
    assert events[-1]["type"] == "error"
    assert events[-1]["metadata"]["code"] == "timeout"
    assert events[-1]["metadata"]["partial"] is True
    assert events[-1]["metadata"]["text"] == text_of(events)
