from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from app.api.observation.loop_lag import watch_event_loop


async def test_a_blocked_event_loop_is_measured() -> None:
    lags: list[float] = []
    watching = asyncio.create_task(watch_event_loop(lags.append, interval_s=0.001))
    while not lags:
        await asyncio.sleep(0.001)
    time.sleep(0.1)  # the fault that it is there to find
    num_before = len(lags)
    while len(lags) == num_before:
        await asyncio.sleep(0.001)
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
    assert max(lags[num_before:]) > 0.05
    assert min(lags) >= 0.0
