"""A bounded mailbox from any thread to one reader on an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class MailboxFull(Exception):
    """A writer puts more than the mailbox holds. It is a defect of that writer, for each has a way to stay within."""


class Mailbox(Generic[T]):
    """`put` from any thread, everything else on the loop that made it, by one reader.

    No more than `capacity` items ever wait, however slow the reader is. A writer on the loop uses `send`, which waits
    for room. One that must not wait, such as an engine thread, gives a `store` that merges what nobody has read yet.

    Args:
        capacity: items that may wait.
        store: adds an item to the pending ones, and may replace or merge pending items that it makes out of date.
    """

    def __init__(self, capacity: int, store: Callable[[deque[T], T], None] = deque.append) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._capacity = capacity
        self._store = store
        self._pending: deque[T] = deque()
        self._lock = threading.Lock()
        self._is_signalled = False
        self._filled = asyncio.Event()
        self._taken = asyncio.Event()

    def put(self, item: T) -> None:
        """Never blocks; without effect once the loop is closed, for then nobody reads.

        Raises:
            MailboxFull: the capacity is used up, and the store has merged nothing.
        """
        with self._lock:
            if self._loop.is_closed():
                return
            self._store(self._pending, item)
            if len(self._pending) > self._capacity:
                self._pending.pop()
                raise MailboxFull(f"{self._capacity} items wait, which is all that this mailbox holds")
            if self._is_signalled:
                return
            self._is_signalled = True
        if threading.get_ident() == self._thread:  # no need to wake the loop that runs this
            self._signal()
            return
        try:
            self._loop.call_soon_threadsafe(self._signal)
        except RuntimeError:  # closed since the check
            return

    async def send(self, item: T) -> None:
        """Puts an item once there is room for it and for one more: the last one never has to wait."""
        while len(self._pending) >= self._capacity - 1:
            self._taken.clear()
            await self._taken.wait()
        self.put(item)

    async def peek(self) -> T:
        """The oldest item, left in place."""
        while not self._pending:
            self._filled.clear()
            await self._filled.wait()
        return self._pending[0]

    async def get(self) -> T:
        """The oldest item, taken out."""
        await self.peek()
        with self._lock:
            item = self._pending.popleft()
        self._taken.set()
        return item

    def _signal(self) -> None:
        with self._lock:
            self._is_signalled = False
        self._filled.set()
