"""API keys: where some are set, a call that is neither open nor an operator's needs one of them."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator
from hashlib import sha256

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.access.auth import carries_token
from app.api.errors.table import ApiKeyRequired, problem_response
from app.api.wire.kinds import is_admin_call, is_fuller_for_admin, is_open_call


class ApiKeys:
    """Refuses a call without one of the keys, whatever its path, unless the path is open or an operator's. Where the
    admin gets a fuller answer, the admin's token counts as a key."""

    def __init__(self, app: ASGIApp, keys: Iterable[str], admin_token: str = "") -> None:
        self.app = app
        self._admin_token = admin_token
        self._digests = [sha256(key.encode()).digest() for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] != "http"
            or is_open_call(scope)
            or is_admin_call(scope)
            or (is_fuller_for_admin(scope) and carries_token(Headers(scope=scope), self._admin_token))
        ):
            await self.app(scope, receive, send)
        elif (digest := self._matching_digest(scope)) is None:
            await problem_response(scope, _refusal())(scope, receive, send)
        else:
            scope.setdefault("state", {})["key_name"] = digest.hex()[:16]
            await self.app(scope, receive, send)

    def _matching_digest(self, scope: Scope) -> bytes | None:
        """The digest of the key that was sent. Every pair is compared, so that the time taken gives no key away."""
        given = [sha256(key.encode("latin-1")).digest() for key in _given_keys(Headers(scope=scope))]
        matching = [digest for digest in self._digests for sent in given if hmac.compare_digest(digest, sent)]
        return matching[0] if matching else None


def key_name(scope: Scope) -> str | None:
    """A name for the key that let the call in. It does not give the key away."""
    name: str | None = scope.get("state", {}).get("key_name")
    return name


def _given_keys(headers: Headers) -> Iterator[str]:
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        yield credentials.strip()
    yield headers.get("x-api-key", "").strip()


def _refusal() -> ApiKeyRequired:
    return ApiKeyRequired("send an API key as 'Authorization: Bearer <key>' or 'X-API-Key: <key>'")
