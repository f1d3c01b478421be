"""Gauges of a loaded model and of its device."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.engine.interface.counters import EngineCounters
from app.services.diffusion.residency.slot import Slot

if TYPE_CHECKING:
    from app.engine.device.memory import DeviceMemory


@dataclass(frozen=True, slots=True)
class ModelObservation:
    """The gauges of one model."""

    model_id: str
    is_available: bool
    device: str = ""
    """Empty, like what follows it, where no instance is loaded."""
    weights_bytes: int = 0
    counters: EngineCounters | None = None
    """The counters of the instance that answers now: a reloaded one begins again at zero."""


def observe_model(slot: Slot) -> ModelObservation:
    """Reads the gauges of the instance that answers now."""
    if slot.instance is None:
        return ModelObservation(slot.model_id, slot.is_available)
    model = slot.instance.model
    return ModelObservation(slot.model_id, slot.is_available, model.device, model.memory_bytes, model.counters)


async def memory_of(devices: Iterable[str]) -> dict[str, DeviceMemory]:
    """The memory of those devices that report it. Drivers may take their time, so a thread asks them."""
    return await asyncio.to_thread(_memory_of, list(devices))


def _memory_of(devices: list[str]) -> dict[str, DeviceMemory]:
    if not devices:
        return {}
    from app.engine.device.memory import device_memory  # imports torch, which takes seconds where no model has done it

    reported = {device: device_memory(device) for device in devices}
    return {device: memory for device, memory in reported.items() if memory is not None}
