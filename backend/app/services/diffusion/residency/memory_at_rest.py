"""Memory of a server at rest: what its last load left behind goes back to the system."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from app.engine.device.allocator import give_back, resident_bytes
from app.services.diffusion.residency.residency import Residency

REST_S = 2.0
"""Seconds without a request, a load or a closing model after which the server is at rest."""
GROWTH = 1.05
"""Resident memory may grow by this factor from one rest to the next before caches are freed again. An allocator that
keeps some of it is cheaper than asking the system anew, so small change is left where it is."""


class MemoryAtRest:
    """Watches the resident memory of the process. Belongs to the event loop; what may block is done in threads.

    Args:
        held_bytes: measures the resident memory of the process.
        free_caches: gives back what nobody uses, of memory on the host.
    """

    def __init__(
        self,
        residency: Residency,
        *,
        held_bytes: Callable[[], int] = resident_bytes,
        free_caches: Callable[[], None] = give_back,
    ) -> None:
        self._residency = residency
        self._held_bytes = held_bytes
        self._free_caches = free_caches
        self._settled_bytes: int | None = None

    async def look(self) -> None:
        """Frees caches if the server is at rest and holds more than at its last rest."""
        if not self._residency.is_at_rest(REST_S):
            return
        held_bytes = await asyncio.to_thread(self._held_bytes)
        if self._settled_bytes is None or held_bytes > GROWTH * self._settled_bytes:
            await asyncio.to_thread(self._free_caches)
            self._settled_bytes = await asyncio.to_thread(self._held_bytes)
        # A model that left, or caches that somebody else freed, make room that is not to be filled up unseen.
        self._settled_bytes = min(self._settled_bytes, held_bytes)
