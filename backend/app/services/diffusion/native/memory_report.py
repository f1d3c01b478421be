"""The memory of a model, as its details report it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.services.diffusion.reports import DiffusionModelDetails, MemoryReport

if TYPE_CHECKING:
    from app.engine.room.estimate import MemoryNeed


def report_memory(details: DiffusionModelDetails, need: MemoryNeed | None) -> None:
    """Writes the need into the details, in megabytes; nothing where it is not known."""
    if need is None:
        return
    batch = need.batch
    cache, logits, states = (round(size / 1e6, 1) for size in (batch.cache, batch.logits, batch.states))
    details.memory_needed = round(need.full / 1e6, 1)
    details.memory = MemoryReport(
        weights=round(need.weights.all / 1e6, 1), cache=cache, logits=logits, states=states, requests=need.num_together
    )
