from __future__ import annotations

from typing import Any

import pytest
from starlette.requests import Request

from app.api.access.auth import check_admin, is_direct_loopback, is_loopback_name
from app.api.errors.table import AdminTokenRequired, LoopbackOnly
from tests.unit.api.asgi import http_scope

HERE = {"Host": "localhost:8000"}


def request(headers: Any, peer: str | None = "127.0.0.1") -> Request:
    return Request(http_scope(headers=headers, client=None if peer is None else (peer, 50_000)))


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST"])
def test_direct_loopback_client(peer: str, host: str) -> None:
    assert is_direct_loopback(request({"Host": host}, peer))


@pytest.mark.parametrize("origin", ["http://localhost:3000", "http://127.0.0.1", "http://[::1]:8000"])
def test_page_of_this_machine(origin: str) -> None:
    assert is_direct_loopback(request({**HERE, "Origin": origin}))


@pytest.mark.parametrize(
    "peer", ["10.0.0.5", "192.168.1.1", "8.8.8.8", "::ffff:10.0.0.5", "fe80::1", "", "testclient", None]
)
def test_peer_elsewhere(peer: str | None) -> None:
    assert not is_direct_loopback(request(HERE, peer))


@pytest.mark.parametrize(
    "host",
    [
        "",
        "example.com",
        "localhost.example.com",
        "127.0.0.1.nip.io",
        "evil@example.com",
        "[::",
        "0.0.0.0",
        "10.0.0.1:8000",
    ],
)
def test_host_of_another_name(host: str) -> None:
    assert not is_direct_loopback(request({"Host": host}))


def test_no_host() -> None:
    assert not is_direct_loopback(request({}))


@pytest.mark.parametrize("origin", ["null", "https://example.com", "http://localhost.example.com", "", "file://"])
def test_page_of_another_site(origin: str) -> None:
    assert not is_direct_loopback(request({**HERE, "Origin": origin}))


def test_every_origin_counts() -> None:
    pairs = [("Host", "localhost"), ("Origin", "http://localhost"), ("Origin", "https://example.com")]
    assert not is_direct_loopback(request(pairs))


@pytest.mark.parametrize(
    "name",
    ["Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Anything", "X-Real-IP", "X-Client-IP",
     "True-Client-IP", "CF-Connecting-IP", "X-Original-Host"],
)  # fmt: skip
@pytest.mark.parametrize("value", ["127.0.0.1", "", "for=127.0.0.1"])
def test_trace_of_a_proxy(name: str, value: str) -> None:
    assert not is_direct_loopback(request({**HERE, name: value}))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "::1"])
def test_addresses_that_stay_on_this_machine(host: str) -> None:
    assert is_loopback_name(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.0.0.5", "example.com", "localhost.example.com"])
def test_addresses_that_are_open_to_others(host: str) -> None:
    assert not is_loopback_name(host)


def test_without_a_token_the_refusal_says_the_way_out() -> None:
    check_admin(request(HERE), "")
    with pytest.raises(LoopbackOnly, match="DIFFUSION_ADMIN_TOKEN"):
        check_admin(request(HERE, "10.0.0.5"), "")


@pytest.mark.parametrize("authorization", ["Bearer sécret", "bearer sécret", "BEARER  sécret "])
def test_the_right_token_opens_from_anywhere(authorization: str) -> None:
    as_sent = authorization.encode().decode("latin-1")
    check_admin(request({"Authorization": as_sent, "X-Forwarded-For": "1.2.3.4"}, "10.0.0.5"), "sécret")


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic secret"}, {"Authorization": "secret"},
     {"Authorization": "Bearer"}, {"Authorization": "Bearer \xff"}, {"Authorization": "Bearer secretsecret"}],
)  # fmt: skip
def test_loopback_is_not_enough_if_a_token_is_set(headers: dict[str, str]) -> None:
    with pytest.raises(AdminTokenRequired) as caught:
        check_admin(request({**HERE, **headers}), "secret")
    assert "secret" not in str(caught.value)
