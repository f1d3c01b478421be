"""Headers decide who may make admin calls: nothing that they hold raises, and nothing odd opens the door."""

from __future__ import annotations

from ipaddress import ip_address

from hypothesis import example, given
from hypothesis import strategies as st
from starlette.requests import Request

from app.api.access.auth import check_admin, is_direct_loopback
from app.api.bodies.body_limit import BodyLimit
from app.api.errors.table import AdminTokenRequired
from tests.fuzz.examples import fuzzed
from tests.unit.api.asgi import Client, http_scope

LATIN_1 = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=40)
HOST_PARTS = st.sampled_from(
    ["localhost", "127.0.0.1", "[::1]", "::1", "[::ffff:127.0.0.1]", "@", ":", "#", "?", "/", "\\", ".", "evil.example",
     "[", "]", "%", "0x7f.1", "127.1", "2130706433", " ", "\t", ",", "8000", "LOCALHOST", "\u00e9"]
)  # fmt: skip
HOSTS = st.lists(HOST_PARTS, max_size=6).map("".join) | LATIN_1
LOOPBACK = {"localhost", "127.0.0.1", "::1", "::ffff:7f00:1", "::ffff:127.0.0.1"}


def request(headers: list[tuple[str, str]], peer: str = "127.0.0.1") -> Request:
    return Request(http_scope(headers=headers, client=(peer, 50_000)))


@fuzzed
@given(HOSTS, st.lists(HOSTS, max_size=2))
@example("localhost#@evil.example", [])
@example("evil.example@localhost", [])
@example("evil.example[::1]", [])
def test_only_a_name_of_this_machine_counts_as_this_machine(host: str, origins: list[str]) -> None:
    headers = [("Host", host), *(("Origin", f"http://{origin}") for origin in origins)]
    if is_direct_loopback(request(headers)):
        assert all(_bare(name) in LOOPBACK for name in (host, *origins))


def _bare(authority: str) -> str:
    """The authority without its port, by plain cutting; brackets hold an IPv6 address."""
    end = authority.find("]") if authority.startswith("[") else -1
    return authority[1:end].lower() if end > 0 else authority.partition(":")[0].lower()


@fuzzed
@given(st.ip_addresses().map(str))
def test_only_a_loopback_peer_is_on_this_machine(peer: str) -> None:
    address = ip_address(peer)
    mapped = getattr(address, "ipv4_mapped", None) or address
    assert is_direct_loopback(request([("Host", "localhost")], peer)) == mapped.is_loopback


@fuzzed
@given(LATIN_1, st.text(min_size=1, max_size=20))
@example("Bearer ", "t")
@example("bearer\tt", "t")
def test_configuration_needs_the_admin_token(authorization: str, token: str) -> None:
    try:
        check_admin(request([("Authorization", authorization)]), token)
    except AdminTokenRequired:
        return
    scheme, _, given_token = authorization.partition(" ")
    assert (scheme.lower(), given_token.strip().encode("latin-1")) == ("bearer", token.encode())


@fuzzed
@given(st.lists(LATIN_1 | st.integers(0, 10**30).map(str), max_size=3))
async def test_any_declared_length_is_passed_or_refused(lengths: list[str]) -> None:
    async def app(scope: object, receive: object, send: object) -> None: ...

    client = Client()
    headers = [("Content-Length", length) for length in lengths]
    await client.call(BodyLimit(app, max_body_bytes=100), http_scope(headers=headers))
    assert not client.sent or client.status == 413
