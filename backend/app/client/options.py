"""How a client finds its server: what both clients are made with, and what httpx makes of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

DEFAULT_URL = "http://localhost:8000"

NO_PROXY_FOR = ("all://localhost", "all://127.0.0.1", "all://[::1]")
"""Between two programs on one machine no proxy has any business, whatever the environment says."""


@dataclass(frozen=True, slots=True)
class ClientOptions:
    url: str
    api_key: str = field(repr=False)
    admin_token: str = field(repr=False)
    timeout_s: float
    connect_timeout_s: float
    max_retries: int
    max_retry_wait_s: float

    def __post_init__(self) -> None:
        if not _is_address(self.url):
            raise ValueError(f"url={self.url!r} is no address of a server; give one such as {DEFAULT_URL}")
        if not all(secret.isascii() and secret.isprintable() for secret in (self.api_key, self.admin_token)):
            raise ValueError("api_key and admin_token may hold visible ASCII characters only; look for a line end")

    def for_httpx(self) -> dict[str, Any]:
        """Arguments that httpx's two clients have in common."""
        return {
            "base_url": self.url.rstrip("/"),
            "timeout": httpx.Timeout(self.timeout_s, connect=self.connect_timeout_s),
            "mounts": dict.fromkeys(NO_PROXY_FOR),
        }

    def headers(self, *, is_admin: bool) -> dict[str, str]:
        secret = self.admin_token if is_admin else self.api_key
        return {"Authorization": f"Bearer {secret}"} if secret else {}


def _is_address(text: str) -> bool:
    try:
        url = urlsplit(text)
        return url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        return False
