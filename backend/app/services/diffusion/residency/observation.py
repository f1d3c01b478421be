"""What can be read off the service at any moment: who waits, what is loaded, how much memory there is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from app.engine.interface.counters import EngineCounters
from app.services.diffusion.requests.admission import AdmissionGate
from app.services.diffusion.requests.stats import FilterHit, Statistics
from app.services.diffusion.residency.slot import Slot

if TYPE_CHECKING:
    from app.engine.device.memory import DeviceMemory


@dataclass(frozen=True, slots=True)
class ModelObservation:
    model_id: str
    is_available: bool
    device: str = ""
    """Empty, like what follows it, where no instance is loaded."""
    weights_bytes: int = 0
    counters: EngineCounters | None = None
    """Of the instance that answers now: a reloaded one begins again at zero."""


@dataclass(frozen=True, slots=True)
class ServiceObservation:
    num_in_flight: int
    num_running: int
    num_waiting: int
    models: tuple[ModelObservation, ...]
    filter_hits: dict[FilterHit, int]
    refusals: dict[str, int] = field(default_factory=dict)
    """Calls that were refused for a mistake of their client, by code."""

    @property
    def devices(self) -> list[str]:
        return sorted({model.device for model in self.models if model.device})


def observe(statistics: Statistics, gate: AdmissionGate, slots: Sequence[Slot]) -> ServiceObservation:
    return ServiceObservation(
        num_in_flight=statistics.num_in_flight,
        num_running=gate.num_running,
        num_waiting=gate.num_waiting,
        models=tuple(map(observe_model, slots)),
        filter_hits=statistics.filter_hits,
        refusals=statistics.refusals,
    )


async def memory_of(devices: Iterable[str]) -> dict[str, DeviceMemory]:
    """Of those devices that tell. Drivers may take their time, so a thread asks them."""
    return await asyncio.to_thread(_memory_of, list(devices))


def observe_model(slot: Slot) -> ModelObservation:
    if slot.instance is None:
        return ModelObservation(slot.model_id, slot.is_available)
    model = slot.instance.model
    return ModelObservation(slot.model_id, slot.is_available, model.device, model.memory_bytes, model.counters)


def _memory_of(devices: list[str]) -> dict[str, DeviceMemory]:
    if not devices:
        return {}
    from app.engine.device.memory import device_memory  # imports torch, which takes seconds where no model has done it

    told = {device: device_memory(device) for device in devices}
    return {device: memory for device, memory in told.items() if memory is not None}
