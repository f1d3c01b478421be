"""A watch on the event loop's punctuality: what blocks the loop, blocks every stream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

INTERVAL_S = 0.5


async def watch_event_loop(note_lag: Callable[[float], None], interval_s: float = INTERVAL_S) -> None:
    """Reports every `interval_s` by how many seconds the loop was late. Runs until it is cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due_s = loop.time() + interval_s
        await asyncio.sleep(interval_s)
        note_lag(max(0.0, loop.time() - due_s))
