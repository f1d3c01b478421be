"""Work that is worth doing only while its client is there.

Starlette notices that a client has left when it sends the next chunk, and for a plain answer never. A denoising
request is too expensive for that, so the disconnect is listened for while the work runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

T = TypeVar("T")

CLIENT_GONE = 499
"""The status of a request whose client left; it is logged and never received."""


async def while_connected(work: Coroutine[Any, Any, T], receive: Receive) -> T:
    """Returns what `work` returns; when the client leaves first, `work` is cancelled and has ended on return.

    Raises:
        ClientDisconnect: the client left.
    """
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_client_leaves(receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientDisconnect
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _client_leaves(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def note_departure(scope: Scope) -> None:
    """Remembers, for the log, that the client did not wait for the end."""
    scope.setdefault("state", {})["client_left"] = True


def has_left(scope: Scope) -> bool:
    """Whether the client is known not to have waited for the end."""
    return bool(scope.get("state", {}).get("client_left", False))
