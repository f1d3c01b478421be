"""The service of an ingress: its models run elsewhere, and what it tells and changes is the whole cluster's."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from app.core.settings import DiffusionConfig
from app.ray.arrivals import Arrivals
from app.ray.board import INGRESS, Changes, Report
from app.ray.board_caller import BoardCaller
from app.ray.errors import RAY_ERRORS, one_line
from app.ray.membership import Membership
from app.ray.remote_model import RemoteModel
from app.services.diffusion import DiffusionLLMService, InvalidParameters, ModelUnavailable
from app.services.diffusion.base import DiffusionModel
from app.services.diffusion.models import (
    CleanupReport,
    ComponentHealth,
    ConfigurationChange,
    DiffusionHealth,
    DiffusionModelDetails,
    DiffusionStatistics,
    Params,
)
from app.services.diffusion.observation import ServiceObservation
from app.services.diffusion.residency.catalog import CatalogEntry
from app.services.diffusion.residency.health import with_component
from app.services.diffusion.residency.routing import Choice
from app.services.diffusion.residency.slot import State
from app.services.diffusion.residency.supervisor import Supervisor

FIXED_SETTINGS = frozenset({"max_concurrent_requests", "max_queued_requests", "extra_models"})
"""They shape the deployments, and so cannot change without deploying again."""
TELLING_TIMEOUT_S = 5.0
"""For what a replica answers at once; one that does not hears of changes at its next exchange all the same."""
WORKING_TIMEOUT_S = 600.0
"""For what takes its time, such as loading a model."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Cluster:
    """Whom an ingress talks to."""

    member: str
    """Its own name."""
    board: BoardCaller
    models: Mapping[str, Any]
    """Model id -> handle of its deployment."""
    max_replicas: int
    """Of each model."""

    async def ask(self, group: str, method: str, timeout_s: float = TELLING_TIMEOUT_S) -> list[Any]:
        """What the replicas of a model, or all ingresses, answer; nothing where the board cannot be had."""
        try:
            answers: list[Any] = await self.board.call("ask", group, method, timeout_s)
        except RAY_ERRORS as error:
            logger.warning("the board cannot be had, so nobody else can be asked: %s", one_line(error))
            return []
        return answers


class ClusterService(DiffusionLLMService):
    """Generates and infills by models in other processes; everything else about a request happens here."""

    def __init__(
        self, config: DiffusionConfig, cluster: Cluster, answers: Mapping[str, Callable[[], Awaitable[Any]]]
    ) -> None:
        self._cluster = cluster
        self.membership = Membership(cluster.board, self._report, super().configure, answers)
        self._total: DiffusionStatistics | None = None
        super().__init__(config)
        self._supervisor = RemoteSupervisor(self._residency, self._current_config)

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
        """Of the cluster, as of the last `refresh`."""
        return self._total or super().statistics()

    def health(self) -> DiffusionHealth:
        """One component more for each replica of a model."""
        report = super().health()
        for replicas in self.membership.models.values():
            for member, told in replicas.items():
                detail = told.error or f"{told.model_id} on {told.device}, {told.memory_usage:.1f} MB of weights"
                component = ComponentHealth(healthy=told.is_available, detail=detail)
                report = with_component(report, f"replica {member}", component)
        return report

    def observation(self) -> ServiceObservation:
        """Without the models: their replicas tell of them."""
        return replace(super().observation(), models=())

    # -- administration ----------------------------------------------------------------------------------------------

    async def configure(self, changes: dict[str, Any]) -> ConfigurationChange:
        """As anywhere, and every replica has adopted the changes on return.

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
        self._current_config()
        self._residency.slot(model_id)
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

    async def _choose(self, params: Params) -> Choice:
        """What a model can take is known where it runs, so one that is to stand in for another is asked first: its
        refusal would be no answer to whoever did not ask for it."""
        choice = await super()._choose(params)
        if choice.requested_model == choice.params.model_id:
            return choice
        with ExitStack() as held:
            model = held.enter_context(choice.model)
            await _confirm(choice, model)
            return replace(choice, model=_handed_on(model, held.pop_all()))

    def _placed(self, entry: CatalogEntry) -> CatalogEntry:
        """One that stands for the model's deployment."""
        model_id = entry.model_id
        handle = self._cluster.models.get(model_id)
        if handle is None or entry.model is None:
            return CatalogEntry(model_id, None, None, problem=entry.problem or "no deployment serves it; deploy again")
        known, config = entry.model.details(), self._config
        arrivals = Arrivals(model_id, places=config.max_concurrent_requests, max_waiting=config.max_queued_requests)

        def build(config: DiffusionConfig) -> RemoteModel:
            return RemoteModel(handle, lambda: self.membership.models.get(model_id, {}), known, arrivals)

        return CatalogEntry(model_id, build(config), build)

    def _adopt(self, config: DiffusionConfig) -> None:
        """Places and queue are those of the deployments. The gate is there for those who wait for a model's first load,
        and wide enough that requests for one model never hold up those for another."""
        super()._adopt(config)
        places = config.max_concurrent_requests * self._cluster.max_replicas + config.max_queued_requests
        self._gate.resize(max_running=places * max(len(self._cluster.models), 1), max_waiting=0)

    def _report(self, changes: Changes) -> Report:
        return Report(self._cluster.member, changes, statistics=super().statistics())


async def _confirm(choice: Choice, model: DiffusionModel) -> None:
    """Raises ModelUnavailable where the stand-in cannot take what was meant for another model."""
    assert isinstance(model, RemoteModel)
    refusal = await model.refusal(choice.params)
    if refusal is not None:
        raise ModelUnavailable(
            f"model {choice.requested_model!r} is not available, and {model.model_id!r} cannot take its place: "
            f"{refusal}"
        )


@contextmanager
def _handed_on(model: DiffusionModel, held: ExitStack) -> Iterator[DiffusionModel]:
    """The model, held already: while nobody held it, it could be closed."""
    with held:
        yield model


class RemoteSupervisor(Supervisor):
    """Each replica has a supervisor for what it holds. Here is only to be noticed that one answers at last, after all
    had said that they could not load the model."""

    async def look(self) -> None:
        for slot in self._residency.slots:
            described = slot.entry.model
            is_there = described is not None and described.problem is None
            if slot.state is State.FAILED and is_there and not slot.is_loading:
                self._residency.repair(slot)
