"""Fewer and larger trips between processes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeVar

from app.services.diffusion.mailbox import Mailbox

T = TypeVar("T")

MAX_BATCH = 256
"""Items in one trip at most."""
MAX_WAITING_BATCHES = 16
"""Batches that may wait for a slow reader before the stream has to wait."""


async def in_batches(stream: AsyncIterator[T]) -> AsyncGenerator[list[T], None]:
    """Yields the items of `stream` in lists: those that have come since the last list was taken. None is empty, and
    nothing is held back: a single item that comes alone goes alone."""
    inbox: Mailbox[list[T | None]] = Mailbox(MAX_WAITING_BATCHES, _append)
    reading = asyncio.create_task(_read(stream, inbox))
    try:
        is_over = False
        while not is_over:
            batch = await inbox.get()
            is_over = batch[-1] is None
            if items := [item for item in batch if item is not None]:
                yield items
        await reading
    finally:
        reading.cancel()
        await asyncio.wait({reading})


async def _read(stream: AsyncIterator[T], inbox: Mailbox[list[T | None]]) -> None:
    """Puts `None` at the end, however it comes."""
    try:
        async for item in stream:
            await inbox.send([item])
    finally:
        inbox.put([None])


def _append(pending: deque[list[T]], items: list[T]) -> None:
    if pending and len(pending[-1]) < MAX_BATCH:
        pending[-1].extend(items)
    else:
        pending.append(items)
