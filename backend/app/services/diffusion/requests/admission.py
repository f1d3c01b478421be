"""Admission: a bounded number of places and a bounded queue in front of them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from app.services.diffusion.errors import Overloaded


class AdmissionGate:
    """First come, first served. All methods belong to one event loop.

    A place that becomes free is given to the longest waiting caller at once, before anyone else can take it; a
    caller that is cancelled at that very moment passes it on. So no wake-up is lost and nobody overtakes.
    """

    def __init__(self, max_running: int, max_waiting: int) -> None:
        self.max_running = max_running
        self.max_waiting = max_waiting
        self.num_running = 0
        self._num_present = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    def resize(self, max_running: int, max_waiting: int) -> None:
        """New limits. Who runs or waits already stays; fewer places show as the present ones are left."""
        self.max_running = max_running
        self.max_waiting = max_waiting
        self._fill_places()

    @contextmanager
    def arrival(self) -> Iterator[None]:
        """Counts whoever is on the way to a place or holds one, so that the wait for a model is bounded too.

        Raises:
            Overloaded: there are as many as may run and wait together.
        """
        if self._num_present >= self.max_running + self.max_waiting:
            raise self._overloaded()
        self._num_present += 1
        try:
            yield
        finally:
            self._num_present -= 1

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Waits for a place and holds it.

        Raises:
            Overloaded: the queue is full; raised without waiting.
        """
        await self._enter()
        try:
            yield
        finally:
            self._leave()

    async def _enter(self) -> None:
        if self.num_running < self.max_running and not self._waiting:
            self.num_running += 1
            return
        if len(self._waiting) >= self.max_waiting:
            raise self._overloaded()
        await self._wait_for_turn()

    def _overloaded(self) -> Overloaded:
        num_waiting = max(self.num_waiting, self._num_present - self.num_running)
        return Overloaded(
            f"{self.num_running} requests are running and {num_waiting} are waiting, which is the limit "
            f"(max_concurrent_requests={self.max_running}, max_queued_requests={self.max_waiting}); try again later"
        )

    async def _wait_for_turn(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._leave()
            elif turn in self._waiting:
                self._waiting.remove(turn)
            raise

    def _leave(self) -> None:
        self.num_running -= 1
        self._fill_places()

    def _fill_places(self) -> None:
        while self._waiting and self.num_running < self.max_running:
            turn = self._waiting.popleft()
            if not turn.cancelled():
                self.num_running += 1
                turn.set_result(None)
