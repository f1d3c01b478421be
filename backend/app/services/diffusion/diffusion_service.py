"""The service: models, requests, configuration and what there is to observe."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from app.core.settings import DiffusionConfig
from app.services.diffusion.base import DiffusionModel
from app.services.diffusion.content_filter.content_filter import ContentFilter
from app.services.diffusion.content_filter.in_force import ContentFilters
from app.services.diffusion.decisions import DiffusionDecisionParams
from app.services.diffusion.errors import InvalidParameters
from app.services.diffusion.likelihood import DiffusionLikelihoodParams
from app.services.diffusion.models import (
    DiffusionGenerationParams,
    DiffusionInfillingParams,
    DiffusionModelInfo,
)
from app.services.diffusion.observation import ServiceObservation, observe
from app.services.diffusion.public_words import public_configuration
from app.services.diffusion.reading import Asked, DiffusionReadParams
from app.services.diffusion.reports import (
    CleanupReport,
    ConfigurationChange,
    DiffusionHealth,
    DiffusionModelDetails,
    DiffusionStatistics,
)
from app.services.diffusion.requests.admission import AdmissionGate
from app.services.diffusion.requests.call import Call, Part
from app.services.diffusion.requests.generation import Generation
from app.services.diffusion.requests.run import Run
from app.services.diffusion.requests.stats import Observer, Statistics
from app.services.diffusion.residency.background import BackgroundTasks
from app.services.diffusion.residency.health import reason_not_ready, report_health
from app.services.diffusion.residency.hosting import Hosting
from app.services.diffusion.residency.residency import Residency
from app.services.diffusion.residency.roster import Roster
from app.services.diffusion.residency.routing import Router
from app.services.diffusion.residency.slot import Slot
from app.services.diffusion.residency.tokenizers import Tokenizers
from app.services.diffusion.state import ServiceState
from app.services.diffusion.validation import ParamsType, asked, changed, merged, service_part

logger = logging.getLogger(__name__)


class DiffusionLLMService:
    """Generates and infills text with diffusion language models. Belongs to one event loop.

    Example:
        service = DiffusionLLMService()
        await service.initialize({"diffusion": {"enabled": True}})
        print(await service.generate_stream("Once upon a time"))
        await service.close()

    Args:
        config: settings; `initialize` may change them.
        hosting: says where models run; left out, in this process.

    Attributes:
        tokenizers: gives the tokens of texts, and the texts of tokens.
    """

    def __init__(self, config: DiffusionConfig | None = None, *, hosting: Hosting | None = None) -> None:
        config = service_part(config or DiffusionConfig())
        self._hosting = hosting or Hosting()
        self._state = ServiceState(config)
        self._statistics = Statistics()
        self._filters = ContentFilters(config.content_filter, self._statistics.count_filter_hit)
        self._gate = AdmissionGate(*self._hosting.limits(config))
        self._residency = Residency(self._state.current)
        self._roster = Roster(self._residency, self._hosting.place)
        self._router = Router(self._residency, self._state.current, self._hosting.confirm)
        self.tokenizers = Tokenizers(self._router, self._state)
        self._supervisor = self._hosting.supervisor(self._residency, self._state.current)
        self._runs = BackgroundTasks()
        self._watch = BackgroundTasks()
        self._roster.adopt(config)

    @property
    def content_filter(self) -> ContentFilter | None:
        """The user's filter, after the rules of the setting `content_filter`; in force for requests from now on."""
        return self._filters.own

    @content_filter.setter
    def content_filter(self, content_filter: ContentFilter | None) -> None:
        self._filters.own = content_filter

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
        wanted = merged(self._state.config, config)
        is_other_file = wanted.content_filter != self._state.config.content_filter
        rules = await self._filters.read_rules(wanted.content_filter) if is_other_file else self._filters.rules
        self._adopt(merged(self._state.config, config))
        self._filters.rules = rules
        self._state.is_initialized, self._state.is_ending = True, False
        await self._roster.complete()
        await self._watch.cancel()  # a second initialisation is no second supervisor
        self._watch.start(self._supervisor.run(), name="look after the models")
        self._roster.check_default(self._state.config.default_model)
        if not self._state.config.enabled:
            logger.info("the service is disabled by configuration")
            return False
        return await self._load_models()

    async def close(self) -> None:
        """Cancels what is in flight and closes every model. The service can be initialised again."""
        self._state.is_initialized, self._state.is_ending = False, True
        await self._watch.cancel()
        await self._runs.cancel()
        await self._residency.close()

    def register_model(self, model: DiffusionModel) -> None:
        """Serves a model that the caller has made, before or after `initialize`.

        Raises:
            TypeError: it is not a DiffusionModel.
            InvalidParameters: its id is malformed or taken.
        """
        slot = self._roster.register(model)
        if self._state.is_initialized:
            self._prepare([slot])

    # -- requests ----------------------------------------------------------------------------------------------------

    def generate_stream(self, request: str | DiffusionGenerationParams, **overrides: Any) -> Generation:
        """Continues a text. Await the result or iterate over its events; see Generation.

        Args:
            overrides: parameters of DiffusionGenerationParams.

        Raises:
            InvalidParameters: a parameter is unknown or out of bounds; at once, all else at the first use.
        """
        given = {"text": request} if isinstance(request, str) else request
        kind = DiffusionGenerationParams if isinstance(request, str) else type(request)
        return self._generation(kind, given, overrides)

    def infill_stream(
        self, prefix: str | DiffusionInfillingParams, suffix: str | None = None, **overrides: Any
    ) -> Generation:
        """Fills the gap between two texts; otherwise as `generate_stream`."""
        given = {"prefix": prefix} if isinstance(prefix, str) else prefix
        kind = DiffusionInfillingParams if isinstance(prefix, str) else type(prefix)
        sides = {} if suffix is None else {"suffix": suffix}
        return self._generation(kind, given, sides | overrides)

    def read(self, params: DiffusionReadParams) -> Generation:
        """Reads a text with holes: awaited, the metadata of the result holds what was read, under `holes`."""
        return self.generation(params, *Call().parts(1))

    def decide(self, params: DiffusionDecisionParams) -> Generation:
        """Answers questions: awaited, the metadata of the result holds the answers by name, under `holes`; see
        `Decision`."""
        return self.generation(params, *Call().parts(1))

    def likelihood(self, params: DiffusionLikelihoodParams) -> Generation:
        """Estimates how probable texts are: awaited, the metadata of the result holds them, under `likelihoods`."""
        return self.generation(params, *Call().parts(1))

    def generation(self, params: Asked, part: Part) -> Generation:
        """Starts one generation of a client's call, by parameters that are validated already."""
        run = Run(
            params,
            part,
            state=self._state,
            filters=self._filters,
            router=self._router,
            gate=self._gate,
            statistics=self._statistics,
        )
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
        return report_health(self._residency.slots, is_enabled=self._state.config.enabled)

    def reason_not_ready(self) -> str | None:
        """Why a request would not be answered at this moment; `None` where it would, as far as one can know."""
        if self._state.is_ending:
            return "the server is stopping"
        if not self._state.config.enabled:
            return "the service is disabled"
        if not self._state.is_initialized:
            return "the service is starting"
        return reason_not_ready(
            self._residency.slots,
            default_model=self._state.config.default_model,
            model_fallback=self._state.config.model_fallback,
        )

    def announce_end(self) -> None:
        """Marks the service as not ready, so that clients send no more; those that come are answered until `close`."""
        self._state.is_ending = True

    def subscribe(self, observer: Observer) -> None:
        """Reports every request that ends to `observer`."""
        self._statistics.subscribe(observer)

    def observation(self) -> ServiceObservation:
        """The gauges of this moment."""
        return observe(self._statistics, self._gate, self._residency.slots)

    # -- administration ----------------------------------------------------------------------------------------------

    def configuration(self) -> dict[str, Any]:
        return self._state.config.model_dump()

    def public_configuration(self) -> dict[str, Any]:
        """The configuration for strangers: where files lie is left out."""
        return public_configuration(self._state.config)

    async def configure(self, changes: dict[str, Any]) -> ConfigurationChange:
        """Changes some settings at run time: all of them, or none if one is wrong. The rules file of the content filter
        is read again whenever `content_filter` is among them.

        Raises:
            InvalidParameters: names the setting, the value and what is allowed.
        """
        rules = self._filters.rules
        if "content_filter" in changes:
            rules = await self._filters.read_rules(changed(self._state.config, changes).content_filter)
        self._adopt(changed(self._state.config, changes))
        self._filters.rules = rules
        if self._state.config.enabled and self._state.is_initialized:
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
        self.check_model(model_id)
        return self._details(await self._residency.reload(model_id))

    def check_model(self, model_id: str) -> None:
        """Whether there is such a model and the service serves it.

        Raises:
            ServiceDisabled: the service is switched off.
            UnknownModel: no model has this id.
        """
        self._state.in_force()
        self._residency.slot(model_id)

    async def cleanup(self) -> CleanupReport:
        """Releases caches, and idle models except the default one; the next request for one loads it again."""
        return await self._supervisor.clean_up()

    # -- inside ------------------------------------------------------------------------------------------------------

    def _generation(
        self, kind: type[ParamsType], given: ParamsType | dict[str, Any], overrides: dict[str, Any]
    ) -> Generation:
        call = Call()
        try:
            return self.generation(asked(kind, given, overrides), *call.parts(1))
        except InvalidParameters as error:
            self.count_refusal(call, error.code)
            raise

    def _adopt(self, config: DiffusionConfig) -> None:
        """Takes over a configuration. Everything that can be wrong is found before anything changes."""
        self._roster.adopt(config)
        self._state.config = config
        self._gate.resize(*self._hosting.limits(config))

    async def _load_models(self) -> bool:
        default, *others = self._slots_by_urgency()
        await default.loaded()
        self._prepare(others)
        if default.is_available or not self._state.config.model_fallback:
            return default.is_available
        for slot in others:
            if await slot.loaded() is not None:
                return True
        return False

    def _prepare(self, slots: list[Slot]) -> None:
        """Loads models in the background, or lets all but the default one wait for their first request."""
        if self._state.config.preload == "default":
            for slot in slots:
                if slot.model_id != self._state.config.default_model:
                    slot.wait_for_use()
        self._residency.load_in_background(slots)

    def _slots_by_urgency(self) -> list[Slot]:
        return sorted(self._residency.slots, key=lambda slot: slot.model_id != self._state.config.default_model)

    def _details(self, slot: Slot) -> DiffusionModelDetails:
        served = self._statistics.requests_served(slot.model_id)
        return slot.details().model_copy(update={"requests_served": served})
