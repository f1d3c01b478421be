"""The admin's right: it belongs to the holder of the token, or, where none is set, to whoever sits at this machine.

The second rule must not open the door to a network by accident. A proxy on this machine makes everybody's peer
address loopback, and a web page can make a browser on this machine send requests; so no header may name a proxy, and
Host and Origin must name this machine too.
"""

from __future__ import annotations

import hmac
import re
from ipaddress import IPv6Address, ip_address

from starlette.datastructures import Headers
from starlette.requests import Request

from app.api.errors.table import AdminTokenRequired, LoopbackOnly

FORWARDING_HEADER = re.compile(
    r"forwarded|via|x-forwarded.*|x-original-.*|x-real-ip|x-client-ip|x-cluster-client-ip|true-client-ip|cf-.*",
)

AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?")
"""Stricter than a URL: what others read leniently is no way in."""


def check_admin(request: Request, admin_token: str) -> None:
    """Lets an admin call pass, or refuses it.

    Raises:
        AdminTokenRequired: a token is set and the request does not carry it.
        LoopbackOnly: no token is set and the client is not directly on this machine.
    """
    if admin_token:
        _check_token(request.headers, admin_token)
    elif not is_direct_loopback(request):
        raise LoopbackOnly(
            "no admin token is set, so only direct clients on this machine may make this call; "
            "set DIFFUSION_ADMIN_TOKEN and send it as 'Authorization: Bearer <token>'"
        )


def has_admin_right(request: Request, admin_token: str) -> bool:
    """Whether an admin call of this client would pass."""
    try:
        check_admin(request, admin_token)
    except (AdminTokenRequired, LoopbackOnly):
        return False
    return True


def carries_token(headers: Headers, admin_token: str) -> bool:
    """Whether an admin token is set, and the request carries it."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    # Headers are read as Latin-1, so encoding them back gives the bytes that were sent.
    matches = hmac.compare_digest(token.strip().encode("latin-1"), admin_token.encode())
    return bool(admin_token) and scheme.lower() == "bearer" and matches


def _check_token(headers: Headers, admin_token: str) -> None:
    if not carries_token(headers, admin_token):
        raise AdminTokenRequired("send the admin token as 'Authorization: Bearer <token>'")


def is_direct_loopback(request: Request) -> bool:
    """Whether the peer, Host and Origin are this machine and no header names a proxy in between."""
    headers = request.headers
    return (
        request.client is not None
        and _is_loopback(request.client.host)
        and not any(map(FORWARDING_HEADER.fullmatch, headers.keys()))
        and _names_loopback(headers.get("host", ""))
        and all(_names_loopback(origin.partition("://")[2]) for origin in headers.getlist("origin"))
    )


def is_loopback_name(host: str) -> bool:
    """Whether this name or address means this machine, for whoever uses it."""
    return host == "localhost" or _is_loopback(host)


def _names_loopback(authority: str) -> bool:
    """Whether a host, with or without a port and nothing else beside it, is this machine."""
    match = AUTHORITY.fullmatch(authority)
    return match is not None and is_loopback_name(match["host"].strip("[]").lower())


def _is_loopback(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address.is_loopback
