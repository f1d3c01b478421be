"""A stream is never silent for long, also before its first event: while it waits in the queue, or for its model."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests

from reynard_diffusion import DiffusionClient
from tests.api.serving import Json, Server
from tests.api.test_disconnect import connect_and_ask, in_flight

SILENCE_S = 0.1
SSE = "text/event-stream"
SIGNS = {"application/x-ndjson": b"\n", SSE: b": keep-alive\n\n"}

WAITING: dict[str, tuple[str, str, Json]] = {
    "lines": ("/api/diffusion/generate/stream", "", {"text": "x", "model_id": "words", "max_length": 3}),
    "events": ("/api/diffusion/infill/stream", SSE, {"prefix": "x", "model_id": "words", "max_length": 3}),
    "completions": ("/v1/completions", "", {"prompt": "x", "model": "words", "max_tokens": 3, "stream": True, "n": 2}),
    "chat": (
        "/v1/chat/completions",
        "",
        {"messages": [{"role": "user", "content": "x"}], "model": "words", "max_tokens": 3, "stream": True},
    ),
    "llama.cpp": ("/infill", "", {"input_prefix": "x", "model": "words", "n_predict": 3, "stream": True}),
}


@contextmanager
def occupied(server: Server, **settings: float) -> Iterator[socket.socket]:
    """The server with one place, which is taken until the socket is closed."""
    server.wait_until_idle()
    with server.configured(max_concurrent_requests=1, keep_alive_seconds=SILENCE_S, **settings):
        holder = connect_and_ask(server, "/generate", {"text": "x", "model_id": "endless"})
        try:
            server.wait_for(in_flight(1))
            yield holder
        finally:
            holder.close()
            server.wait_until_idle()


def asked(server: Server, face: str) -> requests.Response:
    path, accept, body = WAITING[face]
    headers = {"Accept": accept} if accept else {}
    response = requests.post(f"{server.url}{path}", json=body, headers=headers, stream=True, timeout=60)
    assert response.status_code == 200, response.text
    return response


def sign_of(response: requests.Response) -> bytes:
    return SIGNS[response.headers["content-type"].partition(";")[0]]


def objects(body: bytes) -> list[Json]:
    lines = [line.removeprefix(b"data: ") for line in body.split(b"\n")]
    return [json.loads(line) for line in lines if line.startswith(b"{")]


@pytest.mark.parametrize("face", WAITING)
def test_a_stream_that_waits_in_the_queue_sends_keep_alives(server: Server, face: str) -> None:
    with occupied(server) as holder, asked(server, face) as response:
        sign = sign_of(response)
        beginning = response.raw.read(2 * len(sign))
        holder.close()
        rest = response.raw.read()
    assert beginning == 2 * sign
    path, accept, body = WAITING[face]
    at_once = requests.post(f"{server.url}{path}", json=body, headers={"Accept": accept or "*/*"}, timeout=60).content
    assert len(objects(rest)) == len(objects(at_once)), "the events are those of a stream that need not wait"
    assert "error" not in objects(rest)[-1]


@pytest.mark.parametrize("face", WAITING)
def test_an_error_while_a_stream_waits_is_its_last_event(server: Server, face: str) -> None:
    before = server.wait_until_idle()
    # Whoever holds the place came under the longer deadline.
    with occupied(server), server.configured(timeout_seconds=0.4), asked(server, face) as response:
        told = objects(response.raw.read())
    assert len(told) == 1
    code = told[0]["metadata"]["code"] if "metadata" in told[0] else told[0]["error"]["code"]
    assert code == "timeout"
    after = server.wait_until_idle()
    grown = after["failures"]["timeout"] - before["failures"].get("timeout", 0)
    assert 1 <= grown <= (2 if face == "completions" else 1)


@pytest.mark.parametrize("face", WAITING)
def test_an_error_known_at_once_is_a_status(server: Server, face: str) -> None:
    path, _, body = WAITING[face]
    body = {name: value for name, value in body.items() if name != "n"}  # two answers need more room than there ever is
    with occupied(server, max_queued_requests=0):
        full = requests.post(f"{server.url}{path}", json=body, timeout=60)
        unknown = requests.post(
            f"{server.url}{path}", json={**body, "model" if "model" in body else "model_id": "none"}, timeout=60
        )
    assert (full.status_code, int(full.headers["retry-after"]) > 0) == (503, True)
    assert unknown.status_code == 404


def test_a_client_that_leaves_while_it_waits_is_cancelled_once_and_frees_its_place_in_the_queue(server: Server) -> None:
    before = server.wait_until_idle()
    with occupied(server, max_queued_requests=1):
        waiting = connect_and_ask(server, "/generate/stream", {"text": "x", "model_id": "words"})
        assert b"200 OK" in waiting.recv(65_536)
        server.wait_for(in_flight(2))
        waiting.close()
        server.wait_for(in_flight(1))
        assert server.statistics()["cancelled_requests"] == before["cancelled_requests"] + 1
    assert server.wait_until_idle()["cancelled_requests"] == before["cancelled_requests"] + 2


def test_the_clients_limit_is_for_silence_and_not_for_the_wait(server: Server) -> None:
    with occupied(server) as holder:
        freeing = threading.Timer(4 * 0.5, holder.close)
        freeing.start()
        with DiffusionClient(server.url, timeout_s=0.5, max_retries=0) as client:
            started_s = time.monotonic()
            result = client.generate_stream("x", model_id="words", max_length=3).result()
        freeing.join()
    assert result.tokens_generated == 3
    assert time.monotonic() - started_s > 0.5
