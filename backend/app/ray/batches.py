"""Fewer and larger trips between processes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeVar

from app.services.diffusion.requests.mailbox import Handover

T = TypeVar("T")


async def in_batches(stream: AsyncIterator[T]) -> AsyncGenerator[list[T], None]:
    """What `stream` yields, as lists of what has come since the last one was taken; none is empty. Nothing is held
    back: a single item that comes alone goes alone."""
    inbox: Handover[list[T | None]] = Handover(_append)
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


async def _read(stream: AsyncIterator[T], inbox: Handover[list[T | None]]) -> None:
    """Puts `None` at the end, however it comes."""
    try:
        async for item in stream:
            inbox.put([item])
    finally:
        inbox.put([None])


def _append(pending: deque[list[T]], items: list[T]) -> None:
    if pending:
        pending[-1].extend(items)
    else:
        pending.append(items)
