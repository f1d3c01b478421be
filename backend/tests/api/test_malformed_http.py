"""Invalid HTTP is refused or cut off, and harms no other client."""

from __future__ import annotations

import socket
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.api.serving import Server
from tests.profiles import examples

PATIENCE_S = 20.0
SILENCE_S = 0.05
GENERATE = b"POST /api/diffusion/generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
BODY = b'{"text": "x", "model_id": "words", "max_length": 1}'
WHOLE = GENERATE + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
LAST = GENERATE + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY


def answers(server: Server, sent: bytes, silence_s: float = SILENCE_S) -> bytes:
    """All bytes that come back until the server closes; after a silence the client ends its side."""
    answer = b""
    # A server that closes without reading everything resets the connection.
    with suppress(ConnectionError), socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) as connection:
        connection.sendall(sent)
        connection.settimeout(silence_s)
        while chunk := _received(connection):
            answer += chunk
    return answer


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65_536)
    except TimeoutError:
        connection.settimeout(PATIENCE_S)
        connection.shutdown(socket.SHUT_WR)
        return connection.recv(65_536)


def statuses(answer: bytes) -> list[int]:
    """The status of every answer in the bytes; bodies here are JSON, and have no line that looks like a status line."""
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]


def goes_on(server: Server) -> None:
    assert server.answer("/generate", {"text": "x", "model_id": "words", "max_length": 1})["success"]


@pytest.mark.parametrize(
    "sent",
    [
        b"\r\n\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX\0Y: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
        b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\n folded: yes\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: " + b"a" * 200_000 + b"\r\n\r\n",
        # Headers that arrive in one piece are read, however many there are; and then there is no such path.
        b"GET /nowhere HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 20_000 + b"\r\n",
        GENERATE + b"Content-Length: -1\r\n\r\n",
        GENERATE + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        GENERATE + b"Content-Length: 1e1\r\n\r\nab",
        GENERATE + b"Content-Length: " + b"9" * 50 + b"\r\n\r\n",
        GENERATE + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        GENERATE + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffffffffff\r\n",
        GENERATE + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
        GENERATE + b"Transfer-Encoding: gzip\r\n\r\nab",
        GENERATE + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nzz\r\n",
    ],
    ids=lambda sent: ascii(sent[:60]).replace("/", "|"),
)  # fmt: skip
def test_it_is_refused_or_cut_off(server: Server, sent: bytes) -> None:
    assert all(400 <= status < 500 or status in (501, 505) for status in statuses(answers(server, sent)))
    goes_on(server)


def test_requests_in_one_packet_are_answered_one_after_the_other(server: Server) -> None:
    before = server.wait_until_idle()
    assert statuses(answers(server, WHOLE * 4 + LAST, PATIENCE_S)) == [200] * 5
    assert server.wait_until_idle()["successful_requests"] == before["successful_requests"] + 5


def test_bytes_after_a_good_request_do_not_spoil_it(server: Server) -> None:
    assert statuses(answers(server, WHOLE + b"\0\0\0\0 nonsense\r\n\r\n", PATIENCE_S))[0] == 200
    goes_on(server)


def test_a_request_inside_a_body_is_text(server: Server) -> None:
    smuggled = GENERATE + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(WHOLE) + WHOLE
    assert statuses(answers(server, smuggled, PATIENCE_S)) == [400]


PIECES = st.sampled_from(
    [b"POST ", b"GET ", b"/api/diffusion/generate", b" HTTP/1.1", b"\r\n", b"\n", b"\r\n\r\n", b"Host: a\r\n", b"\0",
     b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n", b"0\r\n\r\n", b"5\r\n",
     b"Connection: upgrade\r\nUpgrade: websocket\r\n", b"Connection: close\r\n", b'{"text"', WHOLE, b"\xff\xfe", b":"]
)  # fmt: skip


@examples(75)
@given(st.lists(PIECES | st.binary(max_size=8), max_size=12).map(b"".join))
def test_any_bytes_are_answered_or_cut_off(server: Server, sent: bytes) -> None:
    for status in statuses(answers(server, sent)):
        assert status < 500, sent


def test_nothing_above_was_unexpected(server: Server) -> None:
    goes_on(server)
    server.wait_until_idle()
    assert "unexpected error" not in server.log
    assert "Exception in ASGI application" not in server.log
    assert "exception was never retrieved" not in server.log
