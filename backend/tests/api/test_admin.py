"""Admin calls: without a token they are for direct clients on this machine, otherwise for the holder of the token."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from tests.api.serving import Server, serving

TOKEN = "correct-horse-battery"

ADMIN_CALLS = [
    ("GET", "/admin/stats"),
    ("GET", "/admin/health"),
    ("GET", "/admin/models"),
    ("POST", "/admin/models/dreamon/reload"),
    ("POST", "/admin/cleanup"),
    ("POST", "/config"),
]


def raw_call(server: Server, method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
    lines = [f"{name}: {value}" for name, value in headers.items()]
    body = b'{"top_k": 50}' if path == "/config" else b""
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}", "Connection: close"]
    head = "\r\n".join([f"{method} /api/diffusion{path} HTTP/1.1", *lines, "", ""])
    status, answer = server.raw(head.encode() + body)
    return status, str(json.loads(answer).get("code", ""))


@pytest.mark.parametrize(("method", "path"), ADMIN_CALLS)
def test_direct_loopback_client_may(server: Server, method: str, path: str) -> None:
    assert raw_call(server, method, path, {"Host": f"localhost:{server.port}"})[0] == 200
    assert raw_call(server, method, path, {"Host": "127.0.0.1", "Origin": "http://localhost:3000"})[0] == 200


@pytest.mark.parametrize(("method", "path"), ADMIN_CALLS)
@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "127.0.0.1"},
        {"X-Forwarded-Host": "localhost"},
        {"Forwarded": "for=127.0.0.1"},
        {"Via": "1.1 proxy"},
        {"X-Real-IP": "127.0.0.1"},
        {"Host": "example.com"},
        {"Host": "localhost.example.com"},
        {"Host": ""},
        {"Origin": "https://example.com"},
        {"Origin": "null"},
    ],
    ids=lambda headers: "-".join([*headers.keys(), *headers.values()]),
)
def test_a_call_with_signs_of_another_machine_is_refused(
    server: Server, method: str, path: str, headers: dict[str, str]
) -> None:
    assert raw_call(server, method, path, {"Host": "localhost", **headers}) == (403, "loopback_only")


def test_the_other_calls_are_open(server: Server) -> None:
    headers = {"Host": "example.com", "X-Forwarded-For": "8.8.8.8"}
    assert raw_call(server, "GET", "/models", headers)[0] == 200
    assert raw_call(server, "GET", "/config", headers)[0] == 200


def test_a_stranger_learns_nothing_about_the_body(server: Server) -> None:
    status, body = server.raw_post("/config", b"not json", Host="example.com")
    assert (status, body["code"]) == (403, "loopback_only")


def test_a_client_on_the_network_may_not(guarded: Server) -> None:
    address = network_address()
    if address is None:
        pytest.skip("this machine has no address but loopback")
    with socket.create_connection((address, guarded.port)) as connection:
        connection.sendall(b"GET /api/diffusion/admin/stats HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert b" 401 " in connection.recv(65_536)


def network_address() -> str | None:
    """An address of this machine that is not loopback; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        address = str(probe.getsockname()[0])
    return None if address.startswith("127.") else address


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a token, open to the network, with small bodies and JSON logs."""
    settings = {"ADMIN_TOKEN": TOKEN, "HOST": "0.0.0.0", "MAX_BODY_BYTES": "2000", "LOG_FORMAT": "json"}
    with serving(tmp_path_factory.mktemp("guarded"), None, **settings) as running:
        running.wait_until_ready(headers={"Authorization": f"Bearer {TOKEN}"})
        yield running


@pytest.mark.parametrize(("method", "path"), ADMIN_CALLS)
def test_a_token_is_needed_if_one_is_set(guarded: Server, method: str, path: str) -> None:
    here = {"Host": "localhost"}
    for authorization in ("", "Bearer", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer \xff"):
        given = {"Authorization": authorization} if authorization else {}
        assert raw_call(guarded, method, path, {**here, **given}) == (401, "admin_token_required")
    proxied = {"Host": "example.com", "X-Forwarded-For": "8.8.8.8", "Authorization": f"Bearer {TOKEN}"}
    assert raw_call(guarded, method, path, proxied)[0] == 200


def test_the_refusal_says_how_to_authorize(guarded: Server) -> None:
    response = guarded.get("/admin/stats")
    assert response.headers["www-authenticate"] == "Bearer"
    assert "Authorization: Bearer" in response.json()["detail"]


def test_the_token_never_comes_back(guarded: Server) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    answers = [
        guarded.get("/config"),
        guarded.get("/admin/models", headers=headers),
        guarded.get("/admin/health", headers=headers),
        guarded.post("/config", {"admin_token": "new"}, headers=headers),
        guarded.post("/config", {"top_k": 50}, headers=headers),
        guarded.session.get(f"{guarded.url}/openapi.json"),
    ]
    assert all(TOKEN not in answer.text + str(answer.headers) for answer in answers)
    assert TOKEN not in guarded.log


def test_the_body_limit_is_a_setting(guarded: Server) -> None:
    response = guarded.post("/generate", {"text": "a" * 2_000})
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")
    assert "2000 bytes" in response.json()["detail"]
    assert guarded.post("/generate", {"text": "a" * 1_000, "max_length": 1}).status_code == 200


def test_the_log_has_a_json_line_per_request_and_no_text(guarded: Server) -> None:
    body = {"text": "private words", "max_length": 4, "seed": 1}
    response = guarded.post("/generate", body)
    last = guarded.get("/models", params={"key": "private words"})
    guarded.wait_for_log(f'{last.headers["x-request-id"]}"')
    lines = [json.loads(line) for line in guarded.log.splitlines(keepends=True) if line.endswith("\n")]
    (line,) = [
        line
        for line in lines
        if line["logger"] == "app.api.observation.request_log"
        and line["request_id"] == response.headers["x-request-id"]
    ]
    assert (line["method"], line["path"], line["status"]) == ("POST", "/api/diffusion/generate", 200)
    assert line["duration_ms"] > 0
    assert "private" not in guarded.log
    assert response.json()["generated_text"] not in guarded.log
