"""Access: API keys, pages of other origins, and strangers on the network."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.api.access.security_headers import SECURITY_HEADERS
from tests.api.serving import CHECKPOINTS, WITHOUT_WEIGHTS, Json, Server, serving
from tests.api.test_admin import ADMIN_CALLS, network_address
from tests.api.test_errors import check_problem

KEYS = ("first-key", "second-key")
TOKEN = "admin-token"
ORIGIN = "https://app.example.com"
BODY: Json = {"text": "x", "model_id": "words", "max_length": 1}

GUARDED = [
    ("POST", "/generate"),
    ("POST", "/generate/stream"),
    ("POST", "/infill"),
    ("POST", "/infill/stream"),
    ("GET", "/models"),
    ("GET", "/config"),
    ("GET", "/no-such"),
]


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory, plugin: Path) -> Iterator[Server]:
    """Keys and no admin token, open to the network, and to the pages of one origin."""
    settings = {"API_KEYS": ", ".join(KEYS), "HOST": "0.0.0.0", "CORS_ORIGINS": ORIGIN, **WITHOUT_WEIGHTS}
    with serving(tmp_path_factory.mktemp("keyed"), plugin, **settings) as running:
        running.wait_until_ready()
        yield running


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, plugin: Path) -> Iterator[Server]:
    """Keys and an admin token, open to pages of any origin."""
    settings = {"API_KEYS": KEYS[0], "ADMIN_TOKEN": TOKEN, "CORS_ORIGINS": "*", **WITHOUT_WEIGHTS}
    with serving(tmp_path_factory.mktemp("guarded"), plugin, **settings) as running:
        running.wait_until_ready(headers=bearer(TOKEN))
        yield running


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def call(server: Server, method: str, path: str, headers: dict[str, str] | None = None) -> int:
    url = f"{server.url}/api/diffusion{path}"
    return server.session.request(method, url, json=BODY, headers=headers, timeout=60).status_code


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_without_a_key_nothing_is_answered(keyed: Server, method: str, path: str) -> None:
    url = f"{keyed.url}/api/diffusion{path}"
    response = keyed.session.request(method, url, json=BODY, timeout=60)
    problem = check_problem(response, 401, "api_key_required")
    assert response.headers["www-authenticate"] == "Bearer"
    assert "X-API-Key" in problem["detail"]
    for wrong in ("", "wrong", KEYS[0] + "x", KEYS[0][:-1], ",".join(KEYS)):
        assert call(keyed, method, path, bearer(wrong)) == 401
        assert call(keyed, method, path, {"X-API-Key": wrong}) == 401


@pytest.mark.parametrize("key", KEYS)
def test_each_key_opens(keyed: Server, key: str) -> None:
    for headers in (bearer(key), {"X-API-Key": key}):
        assert keyed.post("/generate", BODY, headers=headers).json()["success"]
        assert keyed.get("/models", headers=headers).status_code == 200
        assert keyed.post("/generate/stream", BODY, headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/tokenize"), ("POST", "/detokenize"), ("GET", "/tokenizer_info")]
)
def test_tokens_need_a_key(keyed: Server, method: str, path: str) -> None:
    def call(headers: dict[str, str]) -> int:
        return keyed.session.request(method, keyed.url + path, json={}, headers=headers, timeout=60).status_code

    assert call({}) == call(bearer("wrong")) == 401
    assert call(bearer(KEYS[0])) == 400


def test_without_a_key_the_body_is_not_read(keyed: Server) -> None:
    head = (
        b"POST /api/diffusion/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\nConnection: close\r\n\r\n"
    )
    assert keyed.raw(head)[0] == 401


def test_the_log_warns_of_a_server_that_is_open_to_everybody(keyed: Server, tmp_path: Path) -> None:
    assert "may use this server" not in keyed.log
    with serving(tmp_path / "open", HOST="0.0.0.0") as open_to_all:
        assert "api_keys is empty" in open_to_all.log


def test_probes_need_no_key(keyed: Server) -> None:
    for probe in ("live", "ready"):
        assert keyed.session.get(f"{keyed.url}/health/{probe}", timeout=60).status_code == 200
    assert keyed.session.get(f"{keyed.url}/openapi.json", timeout=60).status_code == 401


@pytest.mark.parametrize(("method", "path"), ADMIN_CALLS)
def test_with_no_admin_token_this_machine_administers_without_a_key(keyed: Server, method: str, path: str) -> None:
    body = {"top_k": 50} if path == "/config" else None
    url = f"{keyed.url}/api/diffusion{path}"
    assert keyed.session.request(method, url, json=body, timeout=60).status_code == 200


@pytest.mark.parametrize(("method", "path"), ADMIN_CALLS)
def test_a_key_is_no_admin_token(guarded: Server, method: str, path: str) -> None:
    assert call(guarded, method, path) == 401
    assert call(guarded, method, path, bearer(KEYS[0])) == 401
    assert call(guarded, method, path, {"X-API-Key": KEYS[0]}) == 401


def test_the_admin_token_is_enough_for_admin_calls_and_for_no_others(guarded: Server) -> None:
    assert guarded.get("/admin/stats", headers=bearer(TOKEN)).status_code == 200
    assert guarded.get("/admin/stats", headers={**bearer(TOKEN), "X-API-Key": "wrong"}).status_code == 200
    assert guarded.post("/generate", BODY, headers=bearer(TOKEN)).status_code == 401


DISGUISES = [
    {},
    {"X-Forwarded-For": "127.0.0.1", "X-Real-IP": "127.0.0.1", "Forwarded": "for=127.0.0.1"},
    {"Origin": "http://localhost", "Referer": "http://localhost/"},
    {"X-Forwarded-Host": "localhost", "X-Forwarded-Proto": "http", "X-Original-URL": "/"},
    {"Client-IP": "127.0.0.1", "True-Client-IP": "127.0.0.1", "CF-Connecting-IP": "::1"},
    {"Authorization": "Bearer "},
    {"Authorization": f"Bearer {KEYS[0]}", "X-API-Key": KEYS[1]},
    {"X-Admin-Token": "", "Cookie": "admin=true"},
]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "localhost:8000"])
@pytest.mark.parametrize("disguise", DISGUISES, ids=range(len(DISGUISES)))
def test_no_stranger_on_the_network_administers(keyed: Server, host: str, disguise: dict[str, str]) -> None:
    """Whatever it says of itself."""
    address = network_address()
    if address is None:
        pytest.skip("this machine has no address but loopback; connect it to a network to run this test")
    for method, path in ADMIN_CALLS:
        status, body = call_from(address, keyed, method, path, {"Host": host, **disguise})
        assert (status, body["code"]) == (403, "loopback_only"), (method, path)


def call_from(address: str, server: Server, method: str, path: str, headers: dict[str, str]) -> tuple[int, Json]:
    """A call to `address` of this machine: the server sees it as its peer too."""
    lines = [f"{name}: {value}" for name, value in headers.items()]
    head = "\r\n".join([f"{method} /api/diffusion{path} HTTP/1.1", *lines, "Content-Length: 0", "Connection: close"])
    with socket.create_connection((address, server.port), timeout=60) as connection:
        connection.sendall(head.encode() + b"\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    status_line, _, body = answer.partition(b"\r\n\r\n")
    return int(status_line.split(b" ")[1]), json.loads(body)


def preflight(server: Server, origin: str, **more: str) -> tuple[int, dict[str, str]]:
    response = server.session.options(
        f"{server.url}/api/diffusion/generate/stream",
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type,authorization,x-api-key",
            **{name.replace("_", "-"): value for name, value in more.items()},
        },
        timeout=60,
    )
    return response.status_code, {name.lower(): value for name, value in response.headers.items()}


def test_pages_of_other_origins_are_shut_out_by_default(server: Server) -> None:
    status, headers = preflight(server, ORIGIN, Access_Control_Request_Private_Network="true")
    assert status == 204
    assert not any(name.startswith("access-control-") for name in headers)
    response = server.get("/models", headers={"Origin": ORIGIN})
    assert not any(name.lower().startswith("access-control-") for name in response.headers)


def test_pages_of_an_origin_that_is_named_may_call(keyed: Server) -> None:
    status, headers = preflight(keyed, ORIGIN)
    assert (status, headers["access-control-allow-origin"]) == (200, ORIGIN)
    assert "x-api-key" in headers["access-control-allow-headers"]
    response = keyed.post("/generate/stream", BODY, headers={**bearer(KEYS[0]), "Origin": ORIGIN})
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert "RateLimit-Remaining" in response.headers["access-control-expose-headers"]
    refused = keyed.post("/generate", BODY, headers={"Origin": ORIGIN})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, ORIGIN)


@pytest.mark.parametrize("origin", ["https://example.com", f"{ORIGIN}.evil.example", "http://app.example.com", "null"])
def test_pages_of_another_may_not(keyed: Server, origin: str) -> None:
    status, headers = preflight(keyed, origin)
    assert status == 400
    assert "access-control-allow-origin" not in headers
    response = keyed.get("/models", headers={**bearer(KEYS[0]), "Origin": origin})
    assert "access-control-allow-origin" not in response.headers


def test_a_page_of_a_named_origin_may_call_a_server_in_a_private_network(keyed: Server, guarded: Server) -> None:
    """Browsers send this before a page from the internet may call a server on the user's machine."""
    asked = {"Access_Control_Request_Private_Network": "true"}
    for running in (keyed, guarded):
        status, headers = preflight(running, ORIGIN, **asked)
        assert (status, headers["access-control-allow-private-network"]) == (200, "true")
    assert "access-control-allow-private-network" not in preflight(keyed, ORIGIN)[1]
    status, headers = preflight(keyed, "https://example.com", **asked)
    assert status == 400
    assert not {"access-control-allow-origin", "access-control-allow-private-network"} & headers.keys()


def test_any_origin_never_means_with_credentials(guarded: Server) -> None:
    status, headers = preflight(guarded, ORIGIN)
    assert (status, headers["access-control-allow-origin"]) == (200, "*")
    assert "access-control-allow-credentials" not in headers
    response = guarded.get("/models", headers={**bearer(KEYS[0]), "Origin": ORIGIN, "Cookie": "a=b"})
    # Starlette below 1.0 names the origin of who sent cookies.
    assert response.headers["access-control-allow-origin"] in ("*", ORIGIN)
    assert "access-control-allow-credentials" not in response.headers


@pytest.mark.parametrize(("method", "path"), ADMIN_CALLS)
def test_a_page_of_an_allowed_origin_does_not_administer_this_machine(keyed: Server, method: str, path: str) -> None:
    """Its browser runs here, and so the peer is loopback."""
    assert call(keyed, method, path, {"Origin": ORIGIN}) == 403


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/generate"), ("POST", "/generate/stream"), ("GET", "/models"), ("GET", "/no-such"), ("GET", "/generate"),
     ("GET", "/admin/stats")],
)  # fmt: skip
def test_every_answer_has_the_security_headers(server: Server, method: str, path: str) -> None:
    response = server.session.request(method, f"{server.url}/api/diffusion{path}", json=BODY, timeout=60)
    assert {name: response.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS


def test_locations_of_files_are_for_the_admin(guarded: Server, keyed: Server, server: Server) -> None:
    for running, stranger in ((guarded, {"X-API-Key": KEYS[0]}), (guarded, bearer(KEYS[0]))):
        told = running.get("/config", headers=stranger).json()
        assert (told["dreamon_path"], told["llada_path"]) == ("dreamon-tiny", "llada-tiny")
        assert str(CHECKPOINTS) not in str(told)
    for running, admin in ((guarded, bearer(TOKEN)), (guarded, {**bearer(TOKEN), "X-API-Key": KEYS[0]}), (server, {})):
        assert running.get("/config", headers=admin).json()["dreamon_path"] == str(CHECKPOINTS / "dreamon-tiny")
    through_a_proxy = server.get("/config", headers={"X-Forwarded-For": "10.0.0.1"})
    assert through_a_proxy.json()["llada_path"] == "llada-tiny"
    assert call(guarded, "GET", "/config", bearer("wrong")) == 401
    for path in ("/models", "/admin/stats"):
        assert call(guarded, "GET", path, bearer(TOKEN)) == (200 if "admin" in path else 401)


def test_wrong_tokens_are_limited_and_lock_out_no_one(tmp_path: Path, plugin: Path) -> None:
    with serving(tmp_path / "guessed", plugin, ADMIN_TOKEN=TOKEN, RATE_LIMIT="3/hour", **WITHOUT_WEIGHTS) as guessed:
        guessed.wait_until_ready(headers=bearer(TOKEN))
        paths = ("/admin/stats", "/config", "/admin/models", "/config", "/admin/health")
        statuses = [call(guessed, "GET", path, bearer(f"guess-{number}")) for number, path in enumerate(paths)]
        assert statuses == [401, 200, 401, 429, 429], "an answer that tells the admin more is no way to guess either"
        assert call(guessed, "POST", "/config", bearer("guess")) == 429
        for path in ("/admin/stats", "/config"):
            assert call(guessed, "GET", path, bearer(TOKEN)) == 200
        assert call(guessed, "GET", "/config") == 200
        assert call(guessed, "POST", "/generate") == 200


def test_keys_and_token_never_come_back(keyed: Server, guarded: Server) -> None:
    for running, headers in ((keyed, bearer(KEYS[0])), (guarded, bearer(KEYS[0]))):
        answers = [running.get("/config", headers=headers), running.get("/config", headers=bearer("wrong"))]
        answers.append(running.get("/admin/models", headers=bearer(TOKEN)))
        for secret in (*KEYS, TOKEN):
            assert all(secret not in answer.text + str(answer.headers) for answer in answers)
            assert secret not in running.log
