"""Models that run in the replicas of deployments, and what follows from that for an ingress."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from app.core.settings import DiffusionConfig
from app.ray.arrivals import Arrivals
from app.ray.cluster import Cluster
from app.ray.remote_model import RemoteModel
from app.services.diffusion.errors import ModelUnavailable
from app.services.diffusion.reports import DiffusionModelDetails
from app.services.diffusion.residency.catalog import CatalogEntry
from app.services.diffusion.residency.hosting import Hosting, Limits
from app.services.diffusion.residency.residency import Residency
from app.services.diffusion.residency.routing import Choice
from app.services.diffusion.residency.slot import State
from app.services.diffusion.residency.supervisor import Supervisor


class ClusterHosting(Hosting):
    """Each model is a deployment of its own.

    Args:
        config: as the deployments were made; what shapes them does not change while they run.
        replicas: gives those of a model that are there now, and what they report.
    """

    def __init__(
        self,
        config: DiffusionConfig,
        cluster: Cluster,
        replicas: Callable[[str], Mapping[str, DiffusionModelDetails]],
    ) -> None:
        self._config = config
        self._cluster = cluster
        self._replicas = replicas

    def place(self, entry: CatalogEntry) -> CatalogEntry:
        """One that stands for the model's deployment."""
        model_id = entry.model_id
        handle = self._cluster.models.get(model_id)
        if handle is None or entry.model is None:
            return CatalogEntry(model_id, None, None, problem=entry.problem or "no deployment serves it; deploy again")
        known = entry.model.details()
        places, max_waiting = super().limits(self._config)
        arrivals = Arrivals(model_id, places=places, max_waiting=max_waiting)

        def build(config: DiffusionConfig) -> RemoteModel:
            return RemoteModel(handle, lambda: self._replicas(model_id), known, arrivals)

        return CatalogEntry(model_id, build(self._config), build)

    async def confirm(self, choice: Choice) -> None:
        """Asks a model that is to stand in for another, because what it can take is known only where it runs, and its
        refusal would be no answer to a client that did not ask for it.

        Raises:
            ModelUnavailable: the stand-in cannot take what was meant for another model.
        """
        model = choice.model
        if choice.requested_model == model.model_id:
            return
        assert isinstance(model, RemoteModel)
        refusal = await model.refusal(choice.prepared.params)
        if refusal is not None:
            raise ModelUnavailable(
                f"model {choice.requested_model!r} is not available, and {model.model_id!r} cannot take its place: "
                f"{refusal}"
            )

    def limits(self, config: DiffusionConfig) -> Limits:
        """Places and queue are those of the deployments. The gate is there for those who wait for a model's first load,
        and wide enough that requests for one model never hold up those for another."""
        places, max_waiting = super().limits(config)
        for_a_model = places * self._cluster.max_replicas + max_waiting
        return Limits(for_a_model * max(len(self._cluster.models), 1), 0)

    def supervisor(self, residency: Residency, config: Callable[[], DiffusionConfig]) -> Supervisor:
        return RemoteSupervisor(residency, config)


class RemoteSupervisor(Supervisor):
    """Each replica has a supervisor for what it holds. Here is only to be noticed that one answers at last, after all
    had said that they could not load the model."""

    async def look(self) -> None:
        for slot in self.residency.slots:
            described = slot.entry.model
            is_there = described is not None and described.problem is None
            if slot.state is State.FAILED and is_there and not slot.is_loading:
                self.residency.repair(slot)
