"""Clients that send slowly or not at all, or do not read: nobody waits for them for long."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path

import psutil
import pytest

from tests.api.serving import WITHOUT_WEIGHTS, Json, Server, serving

CLIENT_TIMEOUT_S = 1.0
PATIENCE_S = 30.0
"""Within this, whatever is to be closed must be closed; much, for a busy machine."""

HEAD = b"POST /api/diffusion/generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory, plugin: Path) -> Iterator[Server]:
    settings = {"CLIENT_TIMEOUT_SECONDS": str(CLIENT_TIMEOUT_S), "MAX_BODY_BYTES": "2000", **WITHOUT_WEIGHTS}
    with serving(tmp_path_factory.mktemp("strict"), plugin, **settings) as running:
        running.session.headers["Connection"] = "close"  # an idle connection is closed just when it is used again
        running.wait_until_ready()
        yield running


def connect(server: Server, *, receive_buffer_bytes: int | None = None) -> socket.socket:
    connection = socket.socket()
    connection.settimeout(PATIENCE_S)
    if receive_buffer_bytes is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
    connection.connect(("127.0.0.1", server.port))
    return connection


def read_to_the_end(connection: socket.socket) -> bytes:
    """The bytes that the server still sends before it closes the connection."""
    answer = b""
    try:
        while chunk := connection.recv(65_536):
            answer += chunk
    except ConnectionResetError:
        pass
    return answer


def ask_for_health(connection: socket.socket) -> int:
    """The status of an answer that leaves the connection open."""
    connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
    response = HTTPResponse(connection)
    response.begin()
    response.read()
    return response.status


def trickle(connection: socket.socket, piece: bytes, interval_s: float = 0.1) -> float:
    """Sends a piece now and then, until the server wants no more; for how long that was."""
    began_s = time.monotonic()
    try:
        while time.monotonic() - began_s < PATIENCE_S:
            connection.sendall(piece)
            time.sleep(interval_s)
    except ConnectionError:
        return time.monotonic() - began_s
    raise AssertionError(f"the server still reads after {PATIENCE_S} s")


@pytest.mark.parametrize("begun", [b"", b"P", HEAD, HEAD + b"Content-Length: 10\r\n"], ids=range(4))
def test_a_head_that_does_not_come_closes_the_connection(strict: Server, begun: bytes) -> None:
    with connect(strict) as connection:
        connection.sendall(begun)
        began_s = time.monotonic()
        assert read_to_the_end(connection) == b""
    assert time.monotonic() - began_s > CLIENT_TIMEOUT_S / 2


def test_a_byte_of_the_head_now_and_then_does_not_help(strict: Server) -> None:
    with connect(strict) as connection:
        connection.sendall(HEAD + b"X-Slow: ")
        assert trickle(connection, b"x") > CLIENT_TIMEOUT_S / 2


def test_the_next_head_has_no_more_time(strict: Server) -> None:
    with connect(strict) as connection:
        assert ask_for_health(connection) == 200
        connection.sendall(b"GET /health/live HTTP/1.1\r\nX-Slow: ")
        trickle(connection, b"x")


def test_a_connection_in_use_stays_open(strict: Server) -> None:
    """For longer than the head of one request may take."""
    with connect(strict) as connection:
        began_s = time.monotonic()
        while time.monotonic() - began_s < 2 * CLIENT_TIMEOUT_S:
            assert ask_for_health(connection) == 200
            time.sleep(CLIENT_TIMEOUT_S / 20)


@pytest.mark.parametrize(
    "begun",
    [b"Content-Length: 20\r\n\r\n", b'Content-Length: 20\r\n\r\n{"text', b"Transfer-Encoding: chunked\r\n\r\n5\r\n"],
)
def test_a_body_that_does_not_come_is_a_408(strict: Server, begun: bytes) -> None:
    before = strict.statistics()
    with connect(strict) as connection:
        connection.sendall(HEAD + begun)
        head, _, body = read_to_the_end(connection).partition(b"\r\n\r\n")
    assert b"HTTP/1.1 408 " in head
    assert b"connection: close" in head.lower()
    assert json.loads(body)["code"] == "body_too_slow"
    assert strict.statistics()["total_requests"] == before["total_requests"]


def test_a_chunk_of_the_body_now_and_then_does_not_help(strict: Server) -> None:
    with connect(strict) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        trickle(connection, b"1\r\n \r\n")


@pytest.mark.parametrize("path", ["/api/diffusion/generate", "/no-such"])
def test_the_rest_of_a_refused_body_is_not_waited_for(strict: Server, path: str) -> None:
    with connect(strict) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(65_536).split(b" ")[1] in (b"404", b"413")
        trickle(connection, b"x")


def ask_and_read_nothing(server: Server, body: Json, *, receive_buffer_bytes: int = 4096) -> socket.socket:
    connection = connect(server, receive_buffer_bytes=receive_buffer_bytes)
    data = json.dumps({"model_id": "flood", **body}).encode()
    head = HEAD.replace(b"/generate", b"/generate/stream") + f"Content-Length: {len(data)}\r\n\r\n".encode()
    connection.sendall(head + data)
    return connection


def test_an_unread_stream_is_cut_and_its_request_cancelled(strict: Server) -> None:
    before, num_files = strict.wait_until_idle(), num_open_files(strict)
    with ask_and_read_nothing(strict, {"text": "endless"}):
        strict.wait_for(lambda statistics: statistics["requests_in_flight"] == 1)
        after = strict.wait_until_idle(2 * PATIENCE_S)
        wait_for_open_files(strict, num_files)
    assert after["cancelled_requests"] == before["cancelled_requests"] + 1
    assert after["total_requests"] == before["total_requests"] + 1


def test_a_request_that_is_over_by_then_was_successful(strict: Server) -> None:
    """On a machine too busy to finish it in time it is cut off, and a shorter one is asked for. Each is counted
    once."""
    assert any(ends_of_an_unread_request(strict, 2048 >> attempt) == (1, 0, 0) for attempt in range(6))


def ends_of_an_unread_request(strict: Server, length: int) -> tuple[int, ...]:
    """The numbers of requests that it adds to those successful, cancelled and failed."""
    before, num_files = strict.wait_until_idle(), num_open_files(strict)
    with ask_and_read_nothing(strict, {"text": "much", "max_length": length}):
        strict.wait_for(lambda statistics: statistics["total_requests"] == before["total_requests"] + 1)
        after = strict.wait_until_idle(PATIENCE_S)
        wait_for_open_files(strict, num_files)
    names = ("successful_requests", "cancelled_requests", "failed_requests")
    ends = tuple(after[name] - before[name] for name in names)
    assert ends in {(1, 0, 0), (0, 1, 0)}
    return ends


def test_a_slow_reader_gets_everything(strict: Server) -> None:
    body = {"text": "much", "max_length": 1024}
    with ask_and_read_nothing(strict, body, receive_buffer_bytes=65_536) as connection:
        answer = b""
        while b'"complete"' not in answer[-1_000:]:
            time.sleep(CLIENT_TIMEOUT_S / 200)
            answer += (chunk := connection.recv(16_384))
            assert chunk, "cut although it reads"
    assert answer.count(b"x" * 4096) == 1024


def test_a_client_that_closes_one_half_frees_its_slot(strict: Server) -> None:
    strict.wait_until_idle()
    with ask_and_read_nothing(strict, {"text": "endless"}) as connection:
        connection.shutdown(socket.SHUT_WR)
        read_to_the_end(connection)
    strict.wait_until_idle()


def num_open_files(server: Server) -> int:
    return int(psutil.Process(server.process.pid).num_fds())


def wait_for_open_files(server: Server, num_files: int) -> None:
    """Returns once the server has no more files open than that."""
    deadline_s = time.monotonic() + 2 * PATIENCE_S
    while num_open_files(server) > num_files:
        assert time.monotonic() < deadline_s, f"{num_open_files(server)} files are open, and not {num_files}"
        time.sleep(0.05)


def test_nothing_above_was_unexpected(strict: Server) -> None:
    for complaint in ("unexpected error", "Exception in ASGI application", "Fatal error", "was never retrieved"):
        assert complaint not in strict.log
