"""From any thread to one reader on an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Handover(Generic[T]):
    """A mailbox: `put` from any thread, everything else on the loop that made it, by one reader.

    Args:
        store: adds an item to the pending ones, and may replace or merge pending items that it makes out of date.
            This is what bounds the mailbox when the reader is slow.
    """

    def __init__(self, store: Callable[[deque[T], T], None] = deque.append) -> None:
        self._loop = asyncio.get_running_loop()
        self._store = store
        self._pending: deque[T] = deque()
        self._lock = threading.Lock()
        self._is_signalled = False
        self._filled = asyncio.Event()
        self._taken = asyncio.Event()

    def put(self, item: T) -> None:
        """Never blocks and never raises; without effect once the loop is closed, for then nobody reads."""
        with self._lock:
            self._store(self._pending, item)
            if self._is_signalled or self._loop.is_closed():
                return
            self._is_signalled = True
        try:
            self._loop.call_soon_threadsafe(self._signal)
        except RuntimeError:  # closed since the check
            return

    async def peek(self) -> T:
        """The oldest item, left in place."""
        while not self._pending:
            self._filled.clear()
            await self._filled.wait()
        return self._pending[0]

    async def get(self) -> T:
        await self.peek()
        with self._lock:
            item = self._pending.popleft()
        self._taken.set()
        return item

    async def wait_for_room(self, max_pending: int) -> None:
        """Returns once fewer than `max_pending` items wait."""
        while len(self._pending) >= max_pending:
            self._taken.clear()
            await self._taken.wait()

    def _signal(self) -> None:
        with self._lock:
            self._is_signalled = False
        self._filled.set()
