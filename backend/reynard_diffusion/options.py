"""The options of both clients, checked and translated for httpx: the server's URL, secrets, timeouts, proxies."""

from __future__ import annotations

import math
import ssl
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

from reynard_diffusion.connections import CERTIFICATE_FOLDER, missing_certificates, proxy_for, why_unusable

DEFAULT_URL = "http://localhost:8000"

API_PATHS = ("/v1", "/api/diffusion")
"""The suffixes of URLs made for other clients; this client adds the paths itself."""


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """The options of a client.

    Raises:
        ValueError: a value, or a variable of the environment that matters for it, cannot be used.
    """

    url: str
    api_key: str = field(repr=False)
    admin_token: str = field(repr=False)
    timeout_s: float | None
    connect_timeout_s: float | None
    max_retries: int
    max_retry_wait_s: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", _server_address(self.url))
        if not all(map(_is_visible, (self.api_key, self.admin_token))):
            raise ValueError("api_key and admin_token may hold visible ASCII characters only; look for a line end")
        for name, seconds in (("timeout_s", self.timeout_s), ("connect_timeout_s", self.connect_timeout_s)):
            if seconds is not None and not 0 < seconds < math.inf:
                raise ValueError(f"{name}={seconds} must be a positive number of seconds, or None for no limit")

    def for_httpx(self) -> dict[str, Any]:
        """The arguments that httpx's two clients have in common.

        httpx does not read the environment itself: its variables are checked here, so that an error can name them.
        """
        return {
            "base_url": self.url,
            "timeout": httpx.Timeout(self.timeout_s, connect=self.connect_timeout_s),
            "trust_env": False,
            "proxy": self._proxy_url(),
            "verify": _certificates() if self.url.startswith("https:") else False,
        }

    def headers(self, *, is_admin: bool) -> dict[str, str]:
        secret = self.admin_token if is_admin else self.api_key
        return {"Authorization": f"Bearer {secret}"} if secret else {}

    @property
    def destination(self) -> str:
        """The URL, and the proxy on the way to it, for messages."""
        proxy = proxy_for(self.url)
        return self.url if proxy is None else f"{self.url} through the proxy that {proxy.source} names"

    def _proxy_url(self) -> str | None:
        proxy = proxy_for(self.url)
        if proxy is None:
            return None
        if problem := why_unusable(proxy):
            raise ValueError(f"{problem}, or add {urlsplit(self.url).hostname} to NO_PROXY")
        return proxy.url


def _certificates() -> ssl.SSLContext:
    """The certificates that the environment names, else certifi's."""
    try:
        for name in missing_certificates(("SSL_CERT_FILE", CERTIFICATE_FOLDER)):
            raise ValueError(f"{name} names a place that is not there; correct it, or unset it")
        return httpx.create_ssl_context()
    except OSError as error:
        raise ValueError(f"the certificates that SSL_CERT_FILE names cannot be read: {error}") from error


def _server_address(text: str) -> str:
    """The URL of the server's root; the text may also be the URL of a part of its API."""
    text = str(text).strip()
    if not _is_address(text):
        hint = f"http://{text}" if "://" not in text and _is_address(f"http://{text}") else DEFAULT_URL
        raise ValueError(f"url={text!r} is no address of a server; give one such as {hint}")
    address = text.partition("#")[0].rstrip("/")
    for path in API_PATHS:
        address = address.removesuffix(path).rstrip("/")
    return address


def _is_address(text: str) -> bool:
    try:
        url, parsed = urlsplit(text), httpx.URL(text)
        (url.hostname or "").encode("idna")
        is_whole = url.scheme in ("http", "https") and bool(parsed.host) and url.port != 0 and not url.query
    except (ValueError, httpx.InvalidURL):
        return False
    return is_whole and not any(character.isspace() for character in text)


def _is_visible(secret: object) -> bool:
    return isinstance(secret, str) and secret.isascii() and secret.isprintable()
