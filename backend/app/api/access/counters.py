"""Calls counted against limits: here, or in a Redis that several servers share."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import Any, Protocol

from limits import RateLimitItem
from limits.errors import StorageError

from app.api.access.windows import CallWindows

KEY_PREFIX = "reynard"
REDIS_TIMEOUT_S = 1.0
MAX_REDIS_CONNECTIONS = 32
RETRY_S = 5.0
"""The seconds for which a Redis that failed is left alone."""
LOG_INTERVAL_S = 60.0
RESOLUTION_S = 0.001
"""The resolution of the times that Redis gives: what ends within it may not have ended yet."""

logger = logging.getLogger(__name__)


class Windows(Protocol):
    """A place where calls are counted; `limits` calls it a storage for its sliding window counter."""

    async def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool: ...

    async def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]: ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on a call, by the limit that refused it, or else by the limit with the fewest calls left."""

    is_allowed: bool
    limit: RateLimitItem
    num_remaining: int
    reset_s: int
    """Seconds until the window ends."""
    retry_after_s: int
    """Seconds until a call is allowed; 0 where one is now."""


class CallCounters:
    """Counts the calls of each client. It belongs to one event loop.

    While Redis cannot be had the calls are counted here: a client may then make as many as the limit allows on each
    server, and nobody is refused because of Redis.
    """

    def __init__(self, storage_url: str, clock: Callable[[], float] = time.monotonic) -> None:
        """
        Raises:
            ValueError: the URL has parameters that Redis does not know.
        """
        self._clock = clock
        self._local = CallWindows(clock)
        self._pool = None if storage_url == "memory" else _connection_pool(storage_url)
        self._shared = None if self._pool is None else _shared_windows(self._pool)
        self._retry_at_s = self._log_at_s = clock()
        self.problem: str | None = None
        """Why Redis does not count now, as the last call found it."""

    @property
    def is_shared(self) -> bool:
        """Whether calls are meant to be counted in Redis."""
        return self._shared is not None

    async def count(self, limits: Sequence[RateLimitItem], client: str) -> Verdict:
        """Counts one call against each limit, until one refuses it. There is at least one."""
        if self._shared is not None and self._clock() >= self._retry_at_s:
            try:
                async with asyncio.timeout(REDIS_TIMEOUT_S):
                    verdict = await _count(self._shared, limits, client)
            except (StorageError, OSError) as error:
                self._note_failure(error)
            else:
                self._note_success()
                return verdict
        return await _count(self._local, limits, client)

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.aclose()

    def _note_failure(self, error: Exception) -> None:
        now_s = self._clock()
        self._retry_at_s = now_s + RETRY_S
        cause = str(error) or f"no answer within {REDIS_TIMEOUT_S:g} s"
        self.problem = f"Redis cannot be had, so calls are counted on this server alone: {cause}"
        if now_s >= self._log_at_s:
            self._log_at_s = now_s + LOG_INTERVAL_S
            logger.error("rate limits: %s", self.problem)

    def _note_success(self) -> None:
        if self.problem is not None:
            self.problem = None
            logger.info("rate limits: Redis answers again")


# Where calls are counted in memory, nobody waits for the imports of these two.


def _connection_pool(url: str) -> Any:
    """A pool of connections to a Redis; none is open yet."""
    from redis.asyncio import BlockingConnectionPool
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    pool: Any = BlockingConnectionPool.from_url(
        url,
        max_connections=MAX_REDIS_CONNECTIONS,
        timeout=REDIS_TIMEOUT_S,
        socket_timeout=REDIS_TIMEOUT_S,
        socket_connect_timeout=REDIS_TIMEOUT_S,
        retry=Retry(NoBackoff(), 1),  # a connection that was idle for long may be dead
    )
    try:
        pool.make_connection()
    except TypeError as error:
        raise ValueError(f"a parameter is unknown: {error}") from None
    return pool


def _shared_windows(pool: Any) -> Windows:
    from limits.aio.storage import RedisStorage

    # The pool knows where Redis is; the storage wants a URL too, and takes an empty one.
    return RedisStorage(
        "async+redis://", implementation="redispy", wrap_exceptions=True, key_prefix=KEY_PREFIX, connection_pool=pool
    )


async def _count(windows: Windows, limits: Sequence[RateLimitItem], client: str) -> Verdict:
    verdicts: list[Verdict] = []
    for limit in limits:
        verdict = await _count_one(windows, limit, client)
        if not verdict.is_allowed:
            return verdict
        verdicts.append(verdict)
    return min(verdicts, key=lambda verdict: verdict.num_remaining)


async def _count_one(windows: Windows, limit: RateLimitItem, client: str) -> Verdict:
    key, window_s = limit.key_for(client), limit.get_expiry()
    is_allowed = await windows.acquire_sliding_window_entry(key, limit.amount, window_s)
    num_previous, previous_ttl_s, num_current, current_ttl_s = await windows.get_sliding_window(key, window_s)
    window_ends_s = min(max(current_ttl_s - window_s, 0.0), window_s)
    num_counted = floor(num_previous * previous_ttl_s / window_s) + num_current
    num_free = limit.amount - num_current
    # The calls of the window before count less and less: enough of them must have faded.
    waits_s = previous_ttl_s - num_free * window_s / num_previous if num_previous and num_free > 0 else window_ends_s
    return Verdict(
        is_allowed=is_allowed,
        limit=limit,
        num_remaining=max(limit.amount - num_counted, 0) if is_allowed else 0,
        reset_s=ceil(window_ends_s),
        retry_after_s=0 if is_allowed else floor(max(waits_s, 0.0) + RESOLUTION_S) + 1,
    )
