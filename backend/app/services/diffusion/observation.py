"""The gauges of the whole service at one moment: who waits, what is loaded, what was refused and filtered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from app.services.diffusion.content_filter.rules import FilterHit
from app.services.diffusion.requests.admission import AdmissionGate
from app.services.diffusion.requests.stats import Statistics
from app.services.diffusion.residency.observation import ModelObservation, observe_model
from app.services.diffusion.residency.slot import Slot


@dataclass(frozen=True, slots=True)
class ServiceObservation:
    """The gauges of one moment."""

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
    """Reads the gauges. All of it belongs to the event loop, so they are of one moment."""
    return ServiceObservation(
        num_in_flight=statistics.num_in_flight,
        num_running=gate.num_running,
        num_waiting=gate.num_waiting,
        models=tuple(map(observe_model, slots)),
        filter_hits=statistics.filter_hits,
        refusals=statistics.refusals,
    )
