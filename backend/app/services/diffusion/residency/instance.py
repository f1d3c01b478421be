"""A model in memory, and who uses it: it is closed once nobody does."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from app.services.diffusion.base import DiffusionModel

logger = logging.getLogger(__name__)


class Instance:
    """An initialised model and the requests that use it."""

    def __init__(self, model: DiffusionModel) -> None:
        self.model = model
        self.last_used_s = time.monotonic()
        self._num_users = 0
        self._unused = asyncio.Event()
        self._unused.set()

    @property
    def is_idle(self) -> bool:
        return self._num_users == 0

    @contextmanager
    def hold(self) -> Iterator[DiffusionModel]:
        """Holds the model, which is not closed until the block ends."""
        self._num_users += 1
        self._unused.clear()
        try:
            yield self.model
        finally:
            self._num_users -= 1
            self.last_used_s = time.monotonic()
            if self._num_users == 0:
                self._unused.set()

    async def close(self) -> None:
        """Closes the model once the last request has ended. The caller sees to it that no new one gets here."""
        await self._unused.wait()
        try:
            await self.model.close()
        except Exception:
            logger.exception("model %r did not close cleanly", self.model.model_id)
