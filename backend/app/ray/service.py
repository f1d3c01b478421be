"""The service of an ingress: its models run elsewhere, and it reports and changes the whole cluster."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from app.core.settings import DiffusionConfig
from app.ray.board import INGRESS, Changes, Report
from app.ray.cluster import Cluster
from app.ray.errors import RAY_ERRORS, one_line
from app.ray.hosting import ClusterHosting
from app.ray.membership import Membership
from app.services.diffusion import DiffusionLLMService, InvalidParameters, ModelUnavailable
from app.services.diffusion.observation import ServiceObservation
from app.services.diffusion.reports import (
    CleanupReport,
    ComponentHealth,
    ConfigurationChange,
    DiffusionHealth,
    DiffusionModelDetails,
    DiffusionStatistics,
)
from app.services.diffusion.residency.health import with_component

FIXED_SETTINGS = frozenset({"max_concurrent_requests", "max_queued_requests", "extra_models", "adapters"})
"""The settings that shape the deployments, and so cannot change without deploying again."""
WORKING_TIMEOUT_S = 600.0
"""The seconds for calls that take long, such as loading a model."""

logger = logging.getLogger(__name__)


class ClusterService(DiffusionLLMService):
    """Generates and infills by models in other processes; everything else about a request happens here."""

    def __init__(
        self, config: DiffusionConfig, cluster: Cluster, answers: Mapping[str, Callable[[], Awaitable[Any]]]
    ) -> None:
        super().__init__(config, hosting=ClusterHosting(config, cluster, self._replicas))
        self._cluster = cluster
        self.membership = Membership(cluster.board, self._report, super().configure, answers)
        self._total: DiffusionStatistics | None = None

    async def close(self) -> None:
        """Tells at last what became of the requests that were in flight."""
        await super().close()
        with suppress(*RAY_ERRORS):
            await self.membership.exchange()

    # -- observation -------------------------------------------------------------------------------------------------

    async def refresh(self) -> None:
        """Hears from every ingress what it has counted by now."""
        await self._cluster.ask(INGRESS, "exchange")
        try:
            self._total = await self._cluster.board.call("statistics")
        except RAY_ERRORS as error:
            logger.warning("the board cannot be had, so what others counted is not new: %s", one_line(error))

    def statistics(self) -> DiffusionStatistics:
        """The cluster's statistics, as of the last `refresh`."""
        return self._total or super().statistics()

    def health(self) -> DiffusionHealth:
        """One component more for each replica of a model."""
        report = super().health()
        for replicas in self.membership.models.values():
            for member, details in replicas.items():
                detail = (
                    details.error or f"{details.model_id} on {details.device}, {details.memory_usage:.1f} MB of weights"
                )
                component = ComponentHealth(healthy=details.is_available, detail=detail)
                report = with_component(report, f"replica {member}", component)
        return report

    def observation(self) -> ServiceObservation:
        """The gauges without the models, which their replicas report."""
        return replace(super().observation(), models=())

    # -- administration ----------------------------------------------------------------------------------------------

    async def configure(self, changes: dict[str, Any]) -> ConfigurationChange:
        """Changes settings as on one server; every replica has adopted the changes on return.

        Raises:
            InvalidParameters: names the setting, the value and what is allowed.
            ModelUnavailable: the board cannot be had; nothing is changed.
        """
        if fixed := FIXED_SETTINGS & changes.keys():
            name = min(fixed)
            raise InvalidParameters(
                f"{name} shapes the deployments and cannot be changed while they run; set DIFFUSION_{name.upper()} and "
                "deploy again",
                field=name,
            )
        before = self.configuration()
        change = await super().configure(changes)
        try:
            await self._cluster.board.call("change", changes)
        except RAY_ERRORS:
            await super().configure({name: before[name] for name in changes})
            raise ModelUnavailable(
                "the board cannot be had, so no replica would hear of it, and nothing is changed; send it again"
            ) from None
        for group in (INGRESS, *self._cluster.models):
            await self._cluster.ask(group, "exchange")
        return change

    async def reload_model(self, model_id: str) -> DiffusionModelDetails:
        """Every replica loads the model again, each beside its requests in flight."""
        self.check_model(model_id)
        problems = await self._cluster.ask(model_id, "reload", WORKING_TIMEOUT_S)
        await self._cluster.ask(INGRESS, "exchange")
        failed = [problem for problem in problems if problem is not None]
        if failed or not problems:
            why = failed[0] if failed else "none is running; Ray starts another"
            raise ModelUnavailable(
                f"model {model_id!r} was reloaded on {len(problems) - len(failed)} of {len(problems)} replicas: {why}"
            )
        return await super().reload_model(model_id)

    async def cleanup(self) -> CleanupReport:
        """Frees the caches of all replicas. Each has one model, and keeps it."""
        freed = [await self._cluster.ask(model_id, "cleanup", WORKING_TIMEOUT_S) for model_id in self._cluster.models]
        return CleanupReport(released_models=[], freed_bytes=sum(map(sum, freed)))

    # -- inside ------------------------------------------------------------------------------------------------------

    def _replicas(self, model_id: str) -> Mapping[str, DiffusionModelDetails]:
        return self.membership.models.get(model_id, {})

    def _report(self, changes: Changes) -> Report:
        return Report(self._cluster.member, changes, statistics=super().statistics())
