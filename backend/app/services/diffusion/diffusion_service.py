"""The service: models, requests, configuration and what there is to observe."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping
from typing import Any

from app.core.settings import DiffusionConfig
from app.services.diffusion.base import DiffusionModel
from app.services.diffusion.content_filter.by_rules import FilterByRules, configured_filter
from app.services.diffusion.content_filter.content_filter import ContentFilter
from app.services.diffusion.errors import InvalidParameters, ServiceDisabled
from app.services.diffusion.models import (
    CleanupReport,
    ConfigurationChange,
    DiffusionGenerationParams,
    DiffusionHealth,
    DiffusionInfillingParams,
    DiffusionModelDetails,
    DiffusionModelInfo,
    DiffusionStatistics,
    Params,
)
from app.services.diffusion.observation import ServiceObservation, observe
from app.services.diffusion.public_words import public_configuration
from app.services.diffusion.requests.admission import AdmissionGate
from app.services.diffusion.requests.call import Call, Part
from app.services.diffusion.requests.generation import Generation
from app.services.diffusion.requests.run import Facilities, Run
from app.services.diffusion.requests.stats import Observer, Statistics
from app.services.diffusion.residency.background import BackgroundTasks
from app.services.diffusion.residency.catalog import CatalogEntry, configured_entries, plugin_entries, registered_entry
from app.services.diffusion.residency.health import reason_not_ready, report_health
from app.services.diffusion.residency.residency import Residency
from app.services.diffusion.residency.routing import Choice, choose_model, examine
from app.services.diffusion.residency.slot import Slot
from app.services.diffusion.residency.supervisor import Supervisor
from app.services.diffusion.validation import ParamsType, changed, merged, service_part, validated

logger = logging.getLogger(__name__)


class DiffusionLLMService:
    """Generates and infills text with diffusion language models. Belongs to one event loop.

    Example:
        service = DiffusionLLMService()
        await service.initialize({"diffusion": {"enabled": True}})
        print(await service.generate_stream("Once upon a time"))
        await service.close()
    """

    def __init__(self, config: DiffusionConfig | None = None) -> None:
        self._config = service_part(config or DiffusionConfig())
        self._is_initialized = False
        self._is_ending = False
        self._catalog_is_complete = asyncio.Event()
        self._configured_ids: frozenset[str] = frozenset()
        self._gate = AdmissionGate(
            max_running=self._config.max_concurrent_requests, max_waiting=self._config.max_queued_requests
        )
        self._statistics = Statistics()
        self._runs = BackgroundTasks()
        self._residency = Residency(lambda: self._config)
        self._supervisor = Supervisor(self._residency, lambda: self._config)
        self._watch = BackgroundTasks()
        self.content_filter: ContentFilter | None = None
        """A filter of one's own, after the rules of the setting `content_filter`; in force for requests from now on."""
        self._rules = configured_filter(self._config.content_filter, self._statistics.count_filter_hit)
        self._facilities = Facilities(
            self._current_config, self._examine, self._choose, self._gate, self._statistics, self._content_filters
        )
        self._adopt(self._config)

    # -- life --------------------------------------------------------------------------------------------------------

    async def initialize(self, config: DiffusionConfig | Mapping[str, Any] | None = None) -> bool:
        """Loads the default model, and the others after it in the background.

        Args:
            config: the settings to change from what the service was made with; a mapping holds names in lower case
                without prefix, also under the key `diffusion`.

        Returns:
            Whether the service can answer; the log says why not.

        Raises:
            InvalidParameters: a setting is unknown or wrong.
        """
        filter_file = merged(self._config, config).content_filter
        rules = self._rules if filter_file == self._config.content_filter else await self._read_rules(filter_file)
        self._adopt(merged(self._config, config))
        self._rules = rules
        self._is_initialized, self._is_ending = True, False
        await self._complete_catalog()
        await self._watch.cancel()  # a second initialisation is no second supervisor
        self._watch.start(self._supervisor.run(), name="look after the models")
        _check_default(self._config.default_model, {slot.model_id for slot in self._residency.slots})
        if not self._config.enabled:
            logger.info("the service is disabled by configuration")
            return False
        return await self._load_models()

    async def close(self) -> None:
        """Cancels what is in flight and closes every model. The service can be initialised again."""
        self._is_initialized, self._is_ending = False, True
        await self._watch.cancel()
        await self._runs.cancel()
        await self._residency.close()

    def register_model(self, model: DiffusionModel) -> None:
        """Serves a model of one's own, before or after `initialize`.

        Raises:
            TypeError: it is not a DiffusionModel.
            InvalidParameters: its id is malformed or taken.
        """
        slot = self._residency.add(registered_entry(model))
        if self._is_initialized:
            self._prepare([slot])

    # -- requests ----------------------------------------------------------------------------------------------------

    def generate_stream(self, request: str | DiffusionGenerationParams, **overrides: Any) -> Generation:
        """Continues a text. Await the result or iterate over its events; see Generation.

        Args:
            overrides: parameters of DiffusionGenerationParams.

        Raises:
            InvalidParameters: a parameter is unknown or out of bounds; at once, all else at the first use.
        """
        if isinstance(request, str):
            return self._generation(DiffusionGenerationParams, {"text": request, **overrides})
        return self._generation(type(request), request.model_dump(exclude_unset=True) | overrides)

    def infill_stream(
        self, prefix: str | DiffusionInfillingParams, suffix: str | None = None, **overrides: Any
    ) -> Generation:
        """Fills the gap between two texts; otherwise as `generate_stream`."""
        given = {"prefix": prefix} if isinstance(prefix, str) else prefix.model_dump(exclude_unset=True)
        if suffix is not None:
            given["suffix"] = suffix
        return self._generation(DiffusionInfillingParams, given | overrides)

    def generation(self, params: Params, part: Part) -> Generation:
        """The same for parameters that are validated already, as one generation of a client's call."""
        run = Run(params, self._facilities, part)
        return Generation(run, lambda work: self._runs.start(work, name=f"request {run.request_id}"))

    def count_refusal(self, call: Call, code: str) -> None:
        """Counts a call that was refused before it became a request; without effect where its refusal is counted."""
        self._statistics.refuse(call, code)

    # -- observation -------------------------------------------------------------------------------------------------

    def list_models(self) -> list[DiffusionModelInfo]:
        names = set(DiffusionModelInfo.model_fields)
        return [DiffusionModelInfo(**details.model_dump(include=names)) for details in self.model_details()]

    def model_details(self) -> list[DiffusionModelDetails]:
        return [self._details(slot) for slot in self._residency.slots]

    def statistics(self) -> DiffusionStatistics:
        return self._statistics.snapshot()

    def health(self) -> DiffusionHealth:
        """Whether it can answer, and what is wrong with which model."""
        return report_health(self._residency.slots, is_enabled=self._config.enabled)

    def reason_not_ready(self) -> str | None:
        """Why a request would not be answered at this moment; `None` where it would, as far as one can know."""
        if self._is_ending:
            return "the server is stopping"
        if not self._config.enabled:
            return "the service is disabled"
        if not self._is_initialized:
            return "the service is starting"
        return reason_not_ready(
            self._residency.slots,
            default_model=self._config.default_model,
            model_fallback=self._config.model_fallback,
        )

    def announce_end(self) -> None:
        """From now on it is not ready, so that nobody sends more; what comes all the same is answered until `close`."""
        self._is_ending = True

    def subscribe(self, observer: Observer) -> None:
        """Tells `observer` of every request that ends."""
        self._statistics.subscribe(observer)

    def observation(self) -> ServiceObservation:
        """The gauges of this moment."""
        return observe(self._statistics, self._gate, self._residency.slots)

    # -- administration ----------------------------------------------------------------------------------------------

    def configuration(self) -> dict[str, Any]:
        return self._config.model_dump()

    def public_configuration(self) -> dict[str, Any]:
        """The same for strangers: where files lie is left out."""
        return public_configuration(self._config)

    async def configure(self, changes: dict[str, Any]) -> ConfigurationChange:
        """Changes some settings at run time: all of them, or none if one is wrong. The rules file of the content filter
        is read again whenever `content_filter` is among them.

        Raises:
            InvalidParameters: names the setting, the value and what is allowed.
        """
        filter_file = changed(self._config, changes).content_filter
        rules = await self._read_rules(filter_file) if "content_filter" in changes else self._rules
        self._adopt(changed(self._config, changes))
        self._rules = rules
        if self._config.enabled and self._is_initialized:
            self._prepare(self._slots_by_urgency())
        after = self.configuration()
        return ConfigurationChange(
            updated={name: after[name] for name in changes},
            needs_reload=sorted(self._residency.outdated_settings),
            configuration=after,
        )

    async def reload_model(self, model_id: str) -> DiffusionModelDetails:
        """Loads a model again; requests in flight finish on the instance that they began with.

        Raises:
            UnknownModel: no model has this id.
            ModelUnavailable: loading failed; an instance loaded before goes on answering.
            ServiceDisabled: the service is switched off.
        """
        self._current_config()
        return self._details(await self._residency.reload(model_id))

    async def cleanup(self) -> CleanupReport:
        """Releases caches, and idle models except the default one; the next request for one loads it again."""
        return await self._supervisor.clean_up()

    # -- inside ------------------------------------------------------------------------------------------------------

    def _generation(self, kind: type[ParamsType], given: dict[str, Any]) -> Generation:
        call = Call()
        try:
            return self.generation(validated(kind, given), *call.parts(1))
        except InvalidParameters as error:
            self.count_refusal(call, error.code)
            raise

    def _current_config(self) -> DiffusionConfig:
        if not self._config.enabled:
            raise ServiceDisabled("the service is disabled; set enabled=true to use it")
        if not self._is_initialized:
            raise ServiceDisabled("the service is not initialised; await service.initialize() first")
        return self._config

    def _examine(self, params: Params) -> None:
        if self._catalog_is_complete.is_set():
            examine(params, self._config, self._residency)

    async def _choose(self, params: Params) -> Choice:
        await self._catalog_is_complete.wait()
        return await choose_model(params, self._config, self._residency)

    def _content_filters(self) -> list[ContentFilter]:
        return [content_filter for content_filter in (self._rules, self.content_filter) if content_filter is not None]

    async def _read_rules(self, path: str) -> FilterByRules | None:
        return await asyncio.to_thread(configured_filter, path, self._statistics.count_filter_hit)

    def _adopt(self, config: DiffusionConfig) -> None:
        """Takes over a configuration. Everything that can be wrong is found before anything changes."""
        entries = {entry.model_id: self._placed(entry) for entry in configured_entries(config)}
        others = {slot.model_id for slot in self._residency.slots} - self._configured_ids
        if self._catalog_is_complete.is_set():
            _check_default(config.default_model, others | entries.keys())
        if taken := others & entries.keys():
            raise InvalidParameters(
                f"extra_models: {', '.join(taken)} is taken; choose another id", field="extra_models"
            )
        for model_id in self._configured_ids - entries.keys():
            self._residency.remove(model_id)
        for entry in entries.values():
            if entry.model_id not in self._configured_ids:
                self._residency.add(entry)
        self._configured_ids = frozenset(entries)
        self._config = config
        self._gate.resize(max_running=config.max_concurrent_requests, max_waiting=config.max_queued_requests)

    def _placed(self, entry: CatalogEntry) -> CatalogEntry:
        """What is served for an entry: itself, or what stands for it where models run in other processes."""
        return entry

    async def _complete_catalog(self) -> None:
        """Adds the plug-ins, once: importing them may take seconds, so a thread does it."""
        if self._catalog_is_complete.is_set():
            return
        for entry in map(self._placed, await asyncio.to_thread(plugin_entries)):
            if entry.model_id in self._residency:
                logger.error("the plug-in model %r is left out: its id is taken", entry.model_id)
            else:
                self._residency.add(entry)
        self._catalog_is_complete.set()

    async def _load_models(self) -> bool:
        default, *others = self._slots_by_urgency()
        await default.loaded()
        self._prepare(others)
        if default.is_available or not self._config.model_fallback:
            return default.is_available
        for slot in others:
            if await slot.loaded() is not None:
                return True
        return False

    def _prepare(self, slots: list[Slot]) -> None:
        """Loads models in the background, or lets all but the default one wait for their first request."""
        if self._config.preload == "default":
            for slot in slots:
                if slot.model_id != self._config.default_model:
                    slot.wait_for_use()
        self._residency.load_in_background(slots)

    def _slots_by_urgency(self) -> list[Slot]:
        return sorted(self._residency.slots, key=lambda slot: slot.model_id != self._config.default_model)

    def _details(self, slot: Slot) -> DiffusionModelDetails:
        served = self._statistics.requests_served(slot.model_id)
        return slot.details().model_copy(update={"requests_served": served})


def _check_default(model_id: str, known: Collection[str]) -> None:
    if model_id not in known:
        raise InvalidParameters(
            f"default_model={model_id!r} is not a model; known models: {', '.join(sorted(known))}",
            field="default_model",
        )
