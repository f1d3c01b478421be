"""Looks after the models while nobody asks: repairs what broke down, makes room where memory is short."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from app.core.settings import DiffusionConfig
from app.services.diffusion.reports import CleanupReport
from app.services.diffusion.residency.memory_at_rest import MemoryAtRest
from app.services.diffusion.residency.observation import memory_of
from app.services.diffusion.residency.residency import Residency
from app.services.diffusion.residency.slot import Slot

if TYPE_CHECKING:
    from app.engine.device.memory import DeviceMemory

LOOK_EVERY_S = 1.0
MEMORY_EVERY_S = 5.0
IDLE_S = 60.0
"""The time that a model must have been idle before short memory lets it go: one in occasional use stays."""
FIRST_RETRY_S = 1.0
LAST_RETRY_S = 60.0
"""Repairs that fail are tried again after 1, 2, 4 … seconds, and then every minute."""
SETTLED_S = 300.0
"""A model that has worked for so long is repaired at once when it breaks down again."""

MemoryOf: TypeAlias = "Callable[[Iterable[str]], Awaitable[dict[str, DeviceMemory]]]"

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Repair:
    """The attempts to repair one model."""

    num_attempts: int
    begun_s: float

    @property
    def next_s(self) -> float:
        wait_s: float = min(FIRST_RETRY_S * 2 ** (self.num_attempts - 1), LAST_RETRY_S)
        return self.begun_s + wait_s


class Supervisor:
    """Belongs to the event loop; what may block is done in threads.

    Args:
        config: gives the configuration of the moment.
        memory: measures how full devices are.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        residency: Residency,
        config: Callable[[], DiffusionConfig],
        *,
        memory: MemoryOf = memory_of,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.residency = residency
        self._config = config
        self._memory = memory
        self._clock = clock
        self._at_rest = MemoryAtRest(residency)
        self._repairs: dict[str, Repair] = {}
        self._memory_next_s = 0.0
        self._is_short: dict[str, bool] = {}

    async def run(self) -> None:
        """Supervises until it is cancelled; a look that fails is logged, and the next one follows."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self.look()
            except Exception:
                logger.exception("looking after the models failed")

    async def look(self) -> None:
        self._repair_broken()
        await self._keep_to_budget()
        if self._clock() >= self._memory_next_s:
            self._memory_next_s = self._clock() + MEMORY_EVERY_S
            await self._relieve_devices()
        await self._at_rest.look()

    async def clean_up(self) -> CleanupReport:
        """Lets every idle model go but the default one, frees all caches, and reports what came back."""
        devices = {*self.residency.devices, "cpu"}
        before = await asyncio.to_thread(_held_bytes, devices)
        released = await self.residency.release_idle(keep=self._config().default_model)
        await asyncio.to_thread(_free_caches, devices)
        after = await asyncio.to_thread(_held_bytes, devices)
        came_back = sum(max(0, before[device] - after[device]) for device in devices)
        return CleanupReport(
            released_models=[model.model_id for model in released],
            # Weights that fit into memory that was free already come back without showing.
            freed_bytes=max(came_back, sum(model.memory_bytes for model in released)),
        )

    # -- repairs ------------------------------------------------------------------------------------------------------

    def _repair_broken(self) -> None:
        for slot in self.residency.slots:
            if slot.is_broken and self._is_due(slot):
                logger.warning("model %r has broken down and is loaded again: %s", slot.model_id, slot.problem)
                self.residency.repair(slot)

    def _is_due(self, slot: Slot) -> bool:
        now_s = self._clock()
        last = self._repairs.get(slot.model_id)
        if last is None or now_s - last.begun_s > SETTLED_S:
            self._repairs[slot.model_id] = Repair(1, now_s)
            return True
        if now_s < last.next_s:
            return False
        self._repairs[slot.model_id] = Repair(last.num_attempts + 1, now_s)
        return True

    # -- memory -------------------------------------------------------------------------------------------------------

    async def _keep_to_budget(self) -> None:
        """Models in use are never taken away, so the budget may be exceeded until they are idle."""
        budget_bytes = self._config().model_memory_mb * 1_000_000
        while budget_bytes and self.residency.loaded_bytes > budget_bytes:
            candidates = self.residency.idle(keep=self._config().default_model)
            if not await self._let_go(candidates[:1], f"more than model_memory_mb={self._config().model_memory_mb}"):
                return

    async def _relieve_devices(self) -> None:
        threshold = self._config().memory_threshold
        for device, memory in (await self._memory(self.residency.devices)).items():
            is_short = memory.used_bytes > threshold * memory.total_bytes
            if is_short:
                await self._relieve(device, memory)
            self._is_short[device] = is_short

    async def _relieve(self, device: str, memory: DeviceMemory) -> None:
        """Caches first, and only when memory becomes short: while it stays so, there are none worth the time. Then one
        model at a look, for the next look sees what that brought."""
        if not self._is_short.get(device):
            share = memory.used_bytes / memory.total_bytes
            logger.warning("memory of %s is short: %.0f %% is in use; caches are freed", device, 100 * share)
            await asyncio.to_thread(_free_caches, [device])
        idle = self.residency.idle(keep=self._config().default_model, device=device)
        rested = [slot for slot in idle if slot.idle_s >= IDLE_S]
        await self._let_go(rested[:1], f"memory of {device} is short")

    async def _let_go(self, slots: list[Slot], why: str) -> bool:
        released = await self.residency.release(slots)
        for model in released:
            logger.info("model %r was idle and is released (%s)", model.model_id, why)
        return bool(released)


def _held_bytes(devices: Iterable[str]) -> dict[str, int]:
    from app.engine.device.memory import held_bytes  # imports torch, which takes seconds where no model has done it

    return {device: held_bytes(device) for device in devices}


def _free_caches(devices: Iterable[str]) -> None:
    from app.engine.device.memory import free_caches

    for device in devices:
        free_caches(device)
