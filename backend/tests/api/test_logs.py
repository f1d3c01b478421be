"""The log of a server: enough to find each request again, and none of its text."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import requests

from tests.api.forked import ForkedServer
from tests.api.serving import WITHOUT_WEIGHTS, Json, Server, environment, serving
from tests.ports import free_port

MARKER = "zanzibar-4711"
FORBIDDEN = f"{MARKER}-forbidden"
QUOTED = f'{MARKER} "quoted"\n\u2028second line'


@pytest.fixture(scope="module")
def talkative(tmp_path_factory: pytest.TempPathFactory, plugin: Path) -> Iterator[Server]:
    """Logs all that there is to log, as JSON."""
    folder = tmp_path_factory.mktemp("talkative")
    (folder / "rules.toml").write_text(f'[[rule]]\nname = "words"\nterms = ["{FORBIDDEN}"]\n')
    settings = {"LOG_LEVEL": "debug", "LOG_FORMAT": "json", "CONTENT_FILTER": str(folder / "rules.toml")}
    with serving(folder, plugin, **settings) as running:
        running.wait_until_ready()
        yield running


def lines_since(server: Server, offset: int, *, num_lines: int, request_id: str = "") -> list[Json]:
    """The log lines of one request, or of all; waits for the last one, which is written after the answer was sent."""
    deadline_s = time.monotonic() + 10
    while len(lines := _lines(server.log[offset:], request_id)) < num_lines:
        assert time.monotonic() < deadline_s, server.log[offset:]
        time.sleep(0.01)
    return lines


def _lines(log: str, request_id: str) -> list[Json]:
    complete = log[: log.rfind("\n") + 1].splitlines()
    return [line for line in map(json.loads, complete) if request_id in ("", line.get("request_id"))]


def ask_in_every_way(server: Server) -> None:
    """Answers, streams, refusals and failures, all with the marker in what is said."""
    prompt: Json = {"text": QUOTED, "max_length": 8}
    gap: Json = {"prefix": QUOTED, "suffix": MARKER, "max_length": 8}
    for model_id in ("dreamon", "llada", "words"):
        server.answer("/generate", {**prompt, "model_id": model_id})
        server.events("/infill/stream", {**gap, "model_id": model_id, "stream_mode": "canvas"}, "text/event-stream")
    for model_id in ("breaks-at-once", "breaks-later", "nobody", MARKER):
        server.post("/generate", {**prompt, "model_id": model_id})
    server.events("/generate/stream", {**prompt, "model_id": "breaks-later"})
    with server.configured(timeout_seconds=0.1):
        assert server.post("/generate", {**prompt, "model_id": "silent"}).status_code == 504
    refused = server.post("/generate", {"text": FORBIDDEN})
    assert refused.json()["code"] == "content_rejected"
    wrong: list[Json] = [
        {**prompt, "temperature": 99},
        {**prompt, MARKER: MARKER},
        {"text": [QUOTED]},
        {"text": QUOTED * 1000},
        {**prompt, "stop": QUOTED * 50},
        {**prompt, "algorithm": MARKER},
    ]
    for body in wrong:
        assert server.post("/generate", body).status_code == 422, body
    for content in (
        f'{{"text": "{MARKER}'.encode(),
        MARKER.encode(),
        f'{{"text": "{MARKER}\ud83d"}}'.encode("utf-8", "surrogatepass"),
    ):
        assert server.raw_post("/generate", content)[0] in (400, 422)
    server.get(f"/models?text={MARKER}")
    server.raw(f"{MARKER}\r\n\r\n".encode())
    with server.post("/generate/stream", {**prompt, "model_id": "endless"}, stream=True) as stream:
        next(stream.iter_lines())
    server.wait_until_idle()


def test_no_text_of_a_request_is_logged(talkative: Server) -> None:
    ask_in_every_way(talkative)
    assert MARKER not in talkative.log
    assert "Traceback" in talkative.log, "the cause of a failure belongs into the log"


def test_every_line_is_an_object_and_those_of_requests_have_their_id(talkative: Server) -> None:
    offset = len(talkative.log)
    ask_in_every_way(talkative)
    lines = lines_since(talkative, offset, num_lines=40)
    ours = [line for line in lines if line["logger"].startswith("app.")]
    assert ours
    assert [line for line in ours if not line.get("request_id")] == []


def test_the_lines_of_a_request_have_the_id_that_its_client_sees(talkative: Server) -> None:
    offset = len(talkative.log)
    response = talkative.post("/generate", {"text": "x", "model_id": "breaks-at-once"})
    # The last line of a call before may come only now.
    request_id = response.headers["x-request-id"]
    lines = lines_since(talkative, offset, num_lines=3, request_id=request_id)
    assert [line["message"] for line in lines] == ["a model broke while answering", "request failed", "request"]
    assert response.json()["request_id"] == response.headers["x-request-id"]
    assert lines[1]["code"] == "generation_failed"


def test_an_id_that_the_client_gives_is_the_id_everywhere(talkative: Server) -> None:
    given = {"X-Request-ID": "order-66.a"}
    offset = len(talkative.log)
    answer = talkative.post("/generate", {"text": "x", "model_id": "llada", "max_length": 4}, headers=given)
    assert answer.headers["x-request-id"] == answer.json()["metadata"]["request_id"] == "order-66.a"
    refused = talkative.post("/generate", {"text": "x", "model_id": "nobody"}, headers=given)
    assert refused.json()["request_id"] == "order-66.a"
    broken = talkative.post("/generate/stream", {"text": "x", "model_id": "breaks-later"}, headers=given)
    events = [json.loads(line) for line in broken.text.splitlines()]
    assert {event["metadata"]["request_id"] for event in (events[0], events[-1])} == {"order-66.a"}
    lines = lines_since(talkative, offset, num_lines=7, request_id="order-66.a")
    assert [line["outcome"] for line in lines if "outcome" in line] == ["successful", "refused", "failed"]


def test_several_answers_to_one_call_have_ids_that_can_be_joined(talkative: Server) -> None:
    offset = len(talkative.log)
    asked = {"model": "llada", "prompt": ["a", "b"], "max_tokens": 4, "n": 2}
    url, given = f"{talkative.url}/v1/completions", {"X-Request-ID": "batch"}
    answer = talkative.session.post(url, json=asked, headers=given, timeout=60)
    assert (answer.status_code, answer.headers["x-request-id"], answer.json()["id"]) == (200, "batch", "cmpl-batch")
    lines_since(talkative, offset, num_lines=1, request_id="batch")
    ended = [line["request_id"] for line in _lines(talkative.log[offset:], "") if line.get("outcome") == "successful"]
    assert sorted(ended) == [f"batch-{number}" for number in range(4)]


def test_equal_ids_of_clients_are_distinguished_by_the_engine(talkative: Server) -> None:
    body = {"text": "Once upon", "model_id": "llada", "max_length": 48, "temperature": 1.0}
    given = {"X-Request-ID": "the-same"}

    def ask(seed: int) -> str:
        answer = requests.post(
            f"{talkative.url}/api/diffusion/generate", json={**body, "seed": seed}, headers=given, timeout=60
        )
        text: str = answer.json()["generated_text"]
        return text

    alone = [ask(seed) for seed in range(3)]
    with ThreadPoolExecutor(3) as together:
        assert list(together.map(ask, range(3))) == alone


def test_probes_that_find_all_well_are_seen_at_debug_level_only(talkative: Server) -> None:
    offset = len(talkative.log)
    for path in ("/health/live", "/metrics"):
        requests.get(f"{talkative.url}{path}", headers={"X-Request-ID": "probe"}, timeout=60)
    lines = lines_since(talkative, offset, num_lines=2, request_id="probe")
    assert [line["level"] for line in lines] == ["debug", "debug"]


@contextmanager
def logging_to(log: Path, folder: Path, plugin: Path, log_format: str) -> Iterator[Server]:
    """A server whose log goes elsewhere than into a file that can be read."""
    port = free_port()
    settings = {"PORT": str(port), "LOG_LEVEL": "debug", "LOG_FORMAT": log_format, **WITHOUT_WEIGHTS}
    variables = {**environment(**settings), "PYTHONPATH": str(plugin)}
    (folder / "empty.log").touch()
    server = Server(port, ForkedServer(folder, variables, log), folder / "empty.log")
    try:
        while server.process.poll() is None:
            with suppress(requests.ConnectionError):
                server.wait_until_ready()
                break
            time.sleep(0.02)
        yield server
    finally:
        server.session.close()
        server.process.terminate()
        server.process.wait(timeout=120)


def check_answers(server: Server, *, num_rounds: int) -> None:
    for _ in range(num_rounds):
        assert server.answer("/generate", {"text": "x", "model_id": "words", "max_length": 4})["success"]
        broken = server.post("/generate", {"text": "x", "model_id": "breaks-at-once"})
        assert (broken.status_code, broken.json()["code"]) == (500, "generation_failed")
    assert server.events("/generate/stream", {"text": "x", "max_length": 4})[-1]["type"] == "complete"
    assert server.wait_until_idle()["failed_requests"] == num_rounds


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
@pytest.mark.parametrize("log_format", ["plain", "json"])
def test_a_full_disk_harms_no_answer(tmp_path: Path, plugin: Path, log_format: str) -> None:
    with logging_to(Path("/dev/full"), tmp_path, plugin, log_format) as server:
        check_answers(server, num_rounds=3)


def test_a_reader_of_the_log_that_hangs_harms_no_answer(tmp_path: Path, plugin: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with (
        open(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK), "rb") as reader,
        logging_to(pipe, tmp_path, plugin, "json") as server,
    ):
        check_answers(server, num_rounds=60)
        unread = reader.read()
        assert len(unread) > 32_768, "the pipe was never full"
        reader.close()
