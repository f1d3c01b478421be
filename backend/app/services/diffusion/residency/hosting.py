"""The place where models run, and what follows from that for the service."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from app.core.settings import DiffusionConfig
from app.services.diffusion.residency.catalog import CatalogEntry
from app.services.diffusion.residency.residency import Residency
from app.services.diffusion.residency.routing import Choice
from app.services.diffusion.residency.supervisor import Supervisor


class Limits(NamedTuple):
    """The number of requests that the service takes at a time."""

    max_running: int
    max_waiting: int


class Hosting:
    """Models run in this process. A subclass says otherwise."""

    def place(self, entry: CatalogEntry) -> CatalogEntry:
        """Gives what is served for an entry: itself, or what stands for it where models run in other processes."""
        return entry

    async def confirm(self, choice: Choice) -> None:
        """Asks a model that is chosen, and held, whether it takes the request, where that is not known here.

        Raises:
            ServiceError: it does not.
        """

    def limits(self, config: DiffusionConfig) -> Limits:
        """Gives the limits under a configuration."""
        return Limits(config.max_concurrent_requests, config.max_queued_requests)

    def supervisor(self, residency: Residency, config: Callable[[], DiffusionConfig]) -> Supervisor:
        """Looks after the models."""
        return Supervisor(residency, config)
