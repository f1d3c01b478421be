"""A client that leaves frees its place at once, however it asked, and is counted as cancelled."""

from __future__ import annotations

import json
import socket
import threading
import time

import pytest

from tests.api.serving import Json, Server


def connect_and_ask(server: Server, path: str, body: Json) -> socket.socket:
    data = json.dumps(body).encode()
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=60)
    head = (
        f"POST /api/diffusion{path} HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    connection.sendall(head.encode() + data)
    return connection


def in_flight(number: int) -> object:
    return lambda statistics: statistics["requests_in_flight"] == number


@pytest.mark.parametrize("path", ["/generate", "/generate/stream"])
@pytest.mark.parametrize(
    "body",
    [
        {"text": "x", "model_id": "endless"},
        {"text": "x", "model_id": "silent"},
        {"text": "Once", "model_id": "llada", "max_length": 1024, "block_length": 1024},
    ],
    ids=["endless", "silent", "llada"],
)
def test_a_client_that_left_frees_its_slot(server: Server, path: str, body: Json) -> None:
    before = server.wait_until_idle()
    connection = connect_and_ask(server, path, body)
    server.wait_for(in_flight(1))
    if path == "/generate/stream" and body["model_id"] != "silent":
        assert b"200 OK" in connection.recv(65_536)
    connection.close()
    after = server.wait_until_idle()
    assert after["cancelled_requests"] == before["cancelled_requests"] + 1
    assert after["failed_requests"] == before["failed_requests"]


def test_a_client_that_left_during_a_read_frees_its_slot_and_is_counted_once(server: Server) -> None:
    before = server.wait_until_idle()
    connection = connect_and_ask(server, "/read", {"parts": ["x", {"hole": "y"}], "model_id": "silent"})
    server.wait_for(in_flight(1))
    connection.close()
    after = server.wait_until_idle()
    assert after["cancelled_requests"] == before["cancelled_requests"] + 1
    assert after["total_requests"] == before["total_requests"] + 1
    assert after["failed_requests"] == before["failed_requests"]


def test_a_client_that_left_during_a_likelihood_frees_its_slot_and_is_counted_once(server: Server) -> None:
    """Hundreds of passes were to come."""
    before = server.wait_until_idle()
    texts = ["one two three four five six seven eight"] * 8
    connection = connect_and_ask(server, "/likelihood", {"texts": texts, "num_samples": 256, "model_id": "llada"})
    server.wait_for(in_flight(1))
    connection.close()
    after = server.wait_until_idle()
    counts = [after[name] - before[name] for name in ("total_requests", "cancelled_requests", "failed_requests")]
    assert counts == [1, 1, 0]
    assert after["successful_requests"] == before["successful_requests"]


@pytest.mark.parametrize("path", ["/infill", "/infill/stream"])
def test_a_client_of_infilling_that_left_frees_its_slot(server: Server, path: str) -> None:
    before = server.wait_until_idle()
    connection = connect_and_ask(server, path, {"prefix": "x", "model_id": "endless"})
    server.wait_for(in_flight(1))
    connection.close()
    assert server.wait_until_idle()["cancelled_requests"] == before["cancelled_requests"] + 1


@pytest.mark.parametrize("path", ["/generate", "/generate/stream"])
def test_a_client_that_leaves_the_queue_is_never_served(server: Server, path: str) -> None:
    before = server.wait_until_idle()
    with server.configured(max_concurrent_requests=1):
        first = connect_and_ask(server, "/generate", {"text": "x", "model_id": "endless"})
        server.wait_for(in_flight(1))
        waiting = connect_and_ask(server, path, {"text": "x", "model_id": "words"})
        server.wait_for(in_flight(2))
        waiting.close()
        server.wait_for(in_flight(1))
        first.close()
        after = server.wait_until_idle()
    assert after["cancelled_requests"] == before["cancelled_requests"] + 2
    assert after["model_usage"].get("words") == before["model_usage"].get("words")


def test_many_disconnected_clients_leave_nothing_behind(server: Server) -> None:
    before = server.wait_until_idle()
    for path in ["/generate", "/generate/stream"] * 10:
        connection = connect_and_ask(server, path, {"text": "x", "model_id": "endless"})
        connection.close()
    deadline_s = time.monotonic() + 5
    while server.statistics()["total_requests"] < before["total_requests"] + 20 and time.monotonic() < deadline_s:
        time.sleep(0.01)  # some may leave so early that they are never counted
    after = server.wait_until_idle()
    assert after["failed_requests"] == before["failed_requests"]
    assert server.answer("/generate", {"text": "x", "model_id": "words", "max_length": 1})["success"]


def test_a_client_that_disconnects_during_its_body_is_no_error(server: Server) -> None:
    before = server.wait_until_idle()
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(
            b"POST /api/diffusion/generate HTTP/1.1\r\nHost: localhost\r\n"
            b'Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"text"'
        )
        time.sleep(0.05)
    assert server.wait_until_idle()["total_requests"] == before["total_requests"]
    assert "unexpected error" not in server.log


def test_others_go_on(server: Server) -> None:
    body: Json = {"text": "Once upon", "model_id": "llada", "max_length": 32, "seed": 4}
    alone = server.answer("/generate", body)["generated_text"]
    leaving = [
        connect_and_ask(server, "/generate/stream", {**body, "seed": 100 + n, "max_length": 512}) for n in range(2)
    ]
    answers: list[str] = []
    asking = threading.Thread(target=lambda: answers.append(server.answer("/generate", body)["generated_text"]))
    asking.start()
    for connection in leaving:
        time.sleep(0.02)
        connection.close()
    asking.join()
    assert answers == [alone]
    server.wait_until_idle()


def test_departures_are_logged_as_499(server: Server) -> None:
    connection = connect_and_ask(server, "/generate/stream", {"text": "x", "model_id": "endless"})
    connection.recv(65_536)
    connection.close()
    server.wait_until_idle()
    server.wait_for_log("path=/api/diffusion/generate/stream status=499")
