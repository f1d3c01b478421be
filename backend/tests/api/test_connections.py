"""Many connections at once, and connections on which no HTTP is spoken."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from app.api.access.security_headers import SECURITY_HEADERS
from app.api.errors.problem import Problem
from app.core.open_files import allow_open_files
from tests.api.serving import WITHOUT_WEIGHTS, Json, Server, serving

NUM_IDLE = 2_000
MOST_KILOBYTES_EACH = 20
BODY: Json = {"text": "x", "model_id": "words", "max_length": 1}

MALFORMED = {
    "binary": bytes(range(256)) * 4,
    "TLS": bytes.fromhex("16030100c8010000c40303") + b"\0" * 200,
    "no version": b"GET /\r\n\r\n",
    "no request": b"hello\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "space in a name": b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    "folded header": b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\nno colon\r\n\r\n",
    "NUL in a header": b"GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
    "long head": b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 1_000_000,
    "many headers": b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 200_000,
    "negative length": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    "unknown coding": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
    "path that is no ASCII": "GET /ü HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
}


@pytest.mark.parametrize("request_bytes", MALFORMED.values(), ids=MALFORMED.keys())
def test_invalid_http_gets_a_problem_document_and_the_connection_is_closed(
    server: Server, request_bytes: bytes
) -> None:
    head, body = send_all(server, request_bytes)
    assert head.startswith("HTTP/1.1 400 Bad Request")
    problem = json.loads(body)
    Problem.model_validate(problem)
    assert (problem["code"], problem["status"]) == ("malformed_request", 400)
    headers = dict(line.lower().split(": ", 1) for line in head.splitlines()[1:])
    assert headers["content-type"] == "application/problem+json"
    assert headers["x-request-id"] == problem["request_id"]
    assert headers["connection"] == "close"
    assert {name.lower(): value.lower() for name, value in SECURITY_HEADERS.items()}.items() <= headers.items()


@pytest.mark.parametrize("chunk", [b"zz\r\n", b"-1\r\n", b"5\r\nhello", b"f" * 21 + b"\r\n"])
def test_a_truncated_body_followed_by_other_bytes_is_no_request(server: Server, chunk: bytes) -> None:
    before = server.statistics()["total_requests"]
    head = b"POST /api/diffusion/generate HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    answer, _ = send_all(server, head + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n" + chunk + b"garbage\r\n\r\n")
    assert answer.split(" ")[1] in ("400", "413")
    assert server.statistics()["total_requests"] == before


def test_garbage_behind_a_request_does_not_spoil_its_answer(server: Server) -> None:
    data = json.dumps(BODY).encode()
    lines = ["POST /api/diffusion/generate HTTP/1.1", "Host: a", "Content-Type: application/json"]
    head = "\r\n".join([*lines, f"Content-Length: {len(data)}", "", ""])
    first, rest = send_all(server, head.encode() + data + b"\0\1garbage\r\n\r\n")
    assert first.startswith("HTTP/1.1 200 ")
    assert b"HTTP/1.1 400 " in rest


def test_nothing_of_that_was_unexpected(server: Server) -> None:
    assert server.answer("/generate", BODY)["success"]
    for complaint in ("unexpected error", "Exception in ASGI application", "Fatal error", "LocalProtocolError"):
        assert complaint not in server.log


def send_all(server: Server, request_bytes: bytes) -> tuple[str, bytes]:
    """Head and the rest of everything that the server sends until it closes the connection."""
    answer = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        try:
            connection.sendall(request_bytes)
            while chunk := connection.recv(65_536):
                answer += chunk
        except ConnectionError:
            pass  # the server may close before it has read everything
    head, _, rest = answer.partition(b"\r\n\r\n")
    return head.decode(), rest


@contextmanager
def idle_connections(server: Server, number: int) -> Iterator[None]:
    with ExitStack() as stack:
        for _ in range(number):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=60))
        yield


def test_thousands_of_idle_connections_delay_no_request(tmp_path: Path, plugin: Path) -> None:
    if allow_open_files(NUM_IDLE + 500) < NUM_IDLE + 500:
        pytest.skip(f"this test opens {NUM_IDLE} connections; allow it that many files: ulimit -n 4096")
    with serving(tmp_path / "busy", plugin) as busy:
        busy.wait_until_ready()
        busy.answer("/generate", BODY)
        process = psutil.Process(busy.process.pid)
        num_files, memory_bytes = process.num_fds(), process.memory_info().rss
        with idle_connections(busy, NUM_IDLE):
            for _ in range(5):
                assert busy.answer("/generate", BODY)["success"]
            assert process.num_fds() >= NUM_IDLE
            most_bytes = process.memory_info().rss
            assert (most_bytes - memory_bytes) / NUM_IDLE < MOST_KILOBYTES_EACH * 1024
        wait_for(lambda: process.num_fds() <= num_files + 1)
        with idle_connections(busy, NUM_IDLE):
            assert busy.answer("/generate", BODY)["success"]
            assert process.num_fds() >= NUM_IDLE
            assert process.memory_info().rss - most_bytes < 2 * NUM_IDLE * 1024, "what was freed is used again"
        wait_for(lambda: process.num_fds() <= num_files + 1)


def test_above_the_limit_requests_are_refused_and_operators_are_not(tmp_path: Path, plugin: Path) -> None:
    with serving(tmp_path / "full", plugin, MAX_CONNECTIONS="16", **WITHOUT_WEIGHTS) as full:
        full.session.headers["Connection"] = "close"
        full.wait_until_ready()
        with idle_connections(full, 16):
            refusal = full.post("/generate", BODY)
            assert (refusal.status_code, refusal.json()["code"]) == (503, "too_many_connections")
            assert int(refusal.headers["retry-after"]) > 0
            assert full.get("/admin/stats").status_code == 200
            assert full.session.get(f"{full.url}/health/live", timeout=60).status_code == 200
            with socket.create_connection(("127.0.0.1", full.port), timeout=60) as silent:
                assert silent.recv(1) == b""  # soon, for it is one too many
        wait_for(lambda: full.post("/generate", BODY).status_code == 200)


def wait_for(condition: object, within_s: float = 10.0) -> None:
    assert callable(condition)
    deadline_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline_s, f"not within {within_s} s"
        time.sleep(0.05)
