"""A model in memory, and who uses it: it is closed once nobody does. Whoever uses an adapter uses its base too."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from app.services.diffusion.base import DiffusionModel

logger = logging.getLogger(__name__)


class Instance:
    """A model and the requests that use it.

    Args:
        base: the instance whose weights the model uses. It is pinned until this one is closed, or was not initialised.

    Attributes:
        is_retired: it answers no new requests, for another one does or nobody is to.
    """

    def __init__(self, model: DiffusionModel, base: Instance | None = None) -> None:
        self.model = model
        self.base = base
        self.is_retired = False
        self._num_dependants = 0
        self._has_left_base = False
        if base is not None:
            base._num_dependants += 1
        self.last_used_s = time.monotonic()
        self._num_users = 0
        self._unused = asyncio.Event()
        self._unused.set()

    @property
    def is_idle(self) -> bool:
        return self._num_users == 0

    @property
    def is_pinned(self) -> bool:
        """Whether others use its weights, who would have to be loaded again if it went."""
        return self._num_dependants > 0

    @property
    def has_current_base(self) -> bool:
        """Whether it needs no base, or that one answers new requests still."""
        return self.base is None or not self.base.is_retired

    async def initialize(self) -> bool:
        """Initialises the model, attached to its base. Whether it can answer."""
        is_initialised = False
        try:
            if self.base is not None:
                self.model.attach(self.base.model)
            is_initialised = await self.model.initialize() and self.model.problem is None
        finally:
            if not is_initialised:
                self._leave_base()
        return is_initialised

    @contextmanager
    def hold(self) -> Iterator[DiffusionModel]:
        """Holds the model, which is not closed until the block ends, nor is its base."""
        with nullcontext() if self.base is None else self.base.hold():
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
        self._leave_base()

    def _leave_base(self) -> None:
        if self.base is not None and not self._has_left_base:
            self.base._num_dependants -= 1
            self._has_left_base = True
