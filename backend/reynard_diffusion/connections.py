"""The environment's settings for outgoing connections: proxies, exceptions from them, certificates.

A server on the same machine needs none of them. Libraries read these variables too, and fail with an arbitrary
exception; here a value that cannot be used is reported by the name of its variable.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from ipaddress import ip_address, ip_network
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies

PROXIES = ("http_proxy", "https_proxy", "all_proxy")
NO_PROXY = "no_proxy"
CERTIFICATE_FILES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
CERTIFICATE_FOLDER = "SSL_CERT_DIR"

SOCKS_PACKAGES = {"socksio": "socksio", "socks": "pysocks"}
PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")


class Proxy(NamedTuple):
    """A proxy, and the source that names it: a variable, or the system's settings."""

    url: str
    source: str


def is_loopback(url: str) -> bool:
    """Whether a URL leads to this machine."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified


def proxy_for(url: str) -> Proxy | None:
    """The proxy for a connection to `url`; `None` for a direct one."""
    parts, known = urlsplit(url), getproxies()
    if is_loopback(url) or _is_excepted(parts.hostname or "", parts.port, known.get("no", "")):
        return None
    for scheme in (parts.scheme, "all"):
        if address := known.get(scheme):
            return Proxy(_with_scheme(address), _spelling(f"{scheme}_proxy") or "the system's settings")
    return None


def why_unusable(proxy: Proxy, socks_module: str = "socksio") -> str | None:
    """The reason why a proxy cannot be used, in a sentence without its password; `None` if it can.

    Args:
        socks_module: the module that the HTTP library imports for SOCKS proxies.
    """
    try:
        parts = urlsplit(proxy.url)
        is_address = parts.scheme in PROXY_SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address:
        return f"{proxy.source} names no proxy; give one such as http://host:3128, or unset it"
    if parts.scheme.startswith("socks") and find_spec(socks_module) is None:
        package = SOCKS_PACKAGES[socks_module]
        return f"{proxy.source} names a SOCKS proxy, which needs 'pip install {package}'; install that, or unset it"
    return None


def unusable_variables() -> list[str]:
    """The names of the variables whose values may make a library fail."""
    return list(dict.fromkeys(_unusable()))


def missing_certificates(names: Iterable[str]) -> list[str]:
    """The variables that name a file or folder that does not exist."""
    return [name for name in names if (path := os.environ.get(name)) and not os.path.exists(path)]


def _unusable() -> Iterator[str]:
    for name in PROXIES:
        spelling = _spelling(name)
        if spelling and why_unusable(Proxy(_with_scheme(os.environ[spelling]), spelling)):
            yield spelling
    exceptions = _spelling(NO_PROXY)
    if exceptions and any(sign in os.environ[exceptions] for sign in "[]/"):
        yield exceptions
    yield from missing_certificates((*CERTIFICATE_FILES, CERTIFICATE_FOLDER))


def _spelling(name: str) -> str | None:
    """The spelling of a variable in the environment; lower case takes precedence, as in other tools."""
    return next((spelling for spelling in (name, name.upper()) if os.environ.get(spelling)), None)


def _with_scheme(address: str) -> str:
    return address if "://" in address else f"http://{address}"


def _is_excepted(host: str, port: int | None, exceptions: str) -> bool:
    """Whether `NO_PROXY` names a host: by name, by the end of its name, as an address, or in a network."""
    entries = [entry.strip() for entry in exceptions.split(",") if entry.strip()]
    return any(_names(entry, host, port) for entry in entries)


def _names(entry: str, host: str, port: int | None) -> bool:
    if entry == "*":
        return True
    name, _, number = entry.rpartition(":") if entry.count(":") == 1 else (entry, "", "")
    if number and number != str(port):
        return False
    name = name.strip("[]")
    try:
        return ip_address(host) in ip_network(name, strict=False)
    except ValueError:
        domain = name.lower().lstrip("*").lstrip(".")
        return bool(domain) and (host == domain or host.endswith(f".{domain}"))
