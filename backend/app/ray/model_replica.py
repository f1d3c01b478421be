"""One replica of one model: the engine in a process of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from typing import Any, TypeAlias

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.process_collector import ProcessCollector
from ray import serve

from app.api.observation.scrape import Scrape
from app.core.garbage import postpone_collections, resume_collections
from app.core.logging import configure_logging, label_log_lines
from app.core.settings import RELOAD_SETTINGS, DiffusionConfig, Settings, update_config
from app.core.version import VERSION
from app.ray.batches import in_batches
from app.ray.board import Changes, Report
from app.ray.board_caller import BoardCaller
from app.ray.membership import Membership
from app.ray.serve_log import speak_plainly
from app.services.diffusion.errors import GenerationFailed, ServiceError
from app.services.diffusion.model_events import ModelEvent
from app.services.diffusion.model_stream import model_event, opened
from app.services.diffusion.observation import ServiceObservation
from app.services.diffusion.reading import Asked
from app.services.diffusion.residency.background import BackgroundTasks
from app.services.diffusion.residency.catalog import CatalogEntry, configured_entries, plugin_entries
from app.services.diffusion.residency.observation import memory_of, observe_model
from app.services.diffusion.residency.residency import Residency
from app.services.diffusion.residency.routing import Router
from app.services.diffusion.residency.supervisor import Supervisor
from app.services.diffusion.tokens import TokenizerMethod

Item: TypeAlias = ModelEvent | ServiceError
"""An item that a replica sends to an ingress: an event of the model, or an error as the last one."""

logger = logging.getLogger(__name__)


class ModelReplica:
    """A deployment. It is loaded when its constructor returns, so that no request waits at a replica that is new."""

    async def __init__(self, settings: Settings, model_id: str, board: Any) -> None:  # type: ignore[misc]  # Serve's
        postpone_collections()
        configure_logging(settings)
        speak_plainly()
        self._member = serve.get_replica_context().replica_id.unique_id
        # The only model here, and so the one that stays when memory is short, and for which no other can stand in.
        alone = {"default_model": model_id, "model_fallback": False, "content_filter": ""}
        self._config = update_config(settings.service_config(), alone)
        self._residency = Residency(self._current_config)
        answers = {"reload": self._reload, "cleanup": self._clean_up, "families": self._families}
        self._membership = Membership(BoardCaller(board), self._report, self._adopt, answers)
        self._num_running = 0
        self._was_available = False
        self._router = Router(self._residency, self._current_config)
        self._slot = self._residency.add(await asyncio.to_thread(_entry, model_id, self._config))
        self._residency.is_complete.set()
        await self._membership.exchange()  # the model is loaded as the settings are now, and not as at the start
        await self._slot.loaded()
        resume_collections()  # of a model from a plug-in nothing settles
        await self._membership.exchange()
        self._membership.begin()
        self._supervisor = Supervisor(self._residency, self._current_config)
        self._watch = BackgroundTasks()
        self._watch.start(self._supervisor.run(), name="look after the model")

    async def answer(self, params: Asked, request_id: str) -> AsyncGenerator[list[Item], None]:
        """The model's events; an error of the service comes as the last item. The log names the request as the ingress
        does."""
        label_log_lines(request_id)
        self._num_running += 1
        try:
            async with self._router.chosen(params) as choice, opened(choice.model, choice.prepared) as stream:
                async for batch in in_batches(model_event(item) async for item in stream):
                    yield list(batch)
        except ServiceError as error:
            yield [error]
        except Exception:
            logger.exception("a model broke while answering")
            yield [GenerationFailed("the model broke while answering; the log of its replica says why")]
        finally:
            self._num_running -= 1

    async def check(self, params: Asked) -> str | None:
        """Why the model cannot take these parameters; `None` where it can."""
        try:
            async with self._router.chosen(params):
                return None
        except ServiceError as error:
            return str(error)

    async def consult(self, method: TokenizerMethod, *arguments: Any) -> Any:
        """The answer of the model's tokenizer, or the ServiceError that there is instead."""
        try:
            async with self._router.held(self._slot.model_id) as model:
                return await getattr(model, method)(*arguments)
        except ServiceError as error:
            return error

    # -- what is asked of all replicas ---------------------------------------------------------------------------------

    async def _reload(self) -> str | None:
        """Loads the model again; requests in flight finish on the old one. Why that failed."""
        await self._slot.load()
        await self._membership.exchange()
        return self._slot.problem

    async def _clean_up(self) -> int:
        """Frees caches; bytes that came back."""
        return (await self._supervisor.clean_up()).freed_bytes

    async def _families(self) -> tuple[str, list[Metric]]:
        observation = ServiceObservation(0, self._num_running, 0, (observe_model(self._slot),), {})
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        memory = await memory_of(observation.devices)
        return self._member, list(Scrape(registry, observation, memory, VERSION).collect())

    # -- what Serve asks -----------------------------------------------------------------------------------------------

    async def check_health(self) -> None:
        """Fails for a model that answered once and has not been repaired since: a new process may do what loading again
        did not. One that never answered is not replaced, because its checkpoint is at fault."""
        if self._was_available and not self._slot.is_available and not self._slot.is_loading:
            raise RuntimeError(self._slot.problem)
        self._was_available |= self._slot.is_available

    # -- inside --------------------------------------------------------------------------------------------------------

    def _current_config(self) -> DiffusionConfig:
        return self._config

    def _report(self, changes: Changes) -> Report:
        return Report(self._member, changes, model=self._slot.details())

    async def _adopt(self, settings: dict[str, Any]) -> None:
        """Everything else is up to the ingress."""
        mine = {name: value for name, value in settings.items() if name in RELOAD_SETTINGS}
        self._config = update_config(self._config, mine)


def _entry(model_id: str, config: DiffusionConfig) -> CatalogEntry:
    entries = {entry.model_id: entry for entry in configured_entries(config)}
    return entries.get(model_id) or next(entry for entry in plugin_entries() if entry.model_id == model_id)
