"""A checkpoint folder as a model of the service: text and engine joined."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, aclosing
from dataclasses import fields

from app.core.logging import current_request_id
from app.core.parameters import ENGINE_NAMES, PARAMETERS
from app.engine.interface.config import DEFAULT_DEMAND, Demand, EngineConfig
from app.engine.interface.counters import EngineCounters
from app.engine.interface.errors import EngineError, InvalidRequest
from app.services.diffusion.base import DiffusionModel, Prepared
from app.services.diffusion.decisions import DiffusionDecisionParams
from app.services.diffusion.errors import GenerationFailed
from app.services.diffusion.families.base import TextFamily
from app.services.diffusion.likelihood import DiffusionLikelihoodParams
from app.services.diffusion.model_events import ModelEvent
from app.services.diffusion.models import (
    Capability,
    DiffusionChatParams,
    DiffusionGenerationParams,
    DiffusionInfillingParams,
    GivenAsIds,
    Params,
    Request,
)
from app.services.diffusion.native.composing import (
    check_template_options,
    composed_decision,
    composed_prompt,
    composed_reading,
    composed_scoring,
    composed_tokens,
)
from app.services.diffusion.native.decoding import check_combination, decoding_params
from app.services.diffusion.native.engine_errors import failure
from app.services.diffusion.native.engine_events import Translator
from app.services.diffusion.native.engine_request import check_bias, check_ids, check_known, engine_request
from app.services.diffusion.native.engine_stream import Canvases, engine_events, read_events
from app.services.diffusion.native.loading import Loaded, family_at, load
from app.services.diffusion.native.memory_report import report_memory
from app.services.diffusion.native.tokens import tokenizer_facts
from app.services.diffusion.reading import Asked, DiffusionReadParams
from app.services.diffusion.reading_request import ReadingRequest
from app.services.diffusion.reports import DiffusionModelDetails, ParameterBound
from app.services.diffusion.tokens import Encoding, TokenizerFacts, Tokens
from app.text.errors import TextError

_REPORTED = [name for name in ENGINE_NAMES if PARAMETERS[name].le is not None and name != "seed"]
"""Parameters whose bounds are reported; whoever chooses a seed does not choose among better and worse ones."""

logger = logging.getLogger(__name__)


class NativeDiffusionModel(DiffusionModel):
    """Serves a checkpoint of a known family by the project's own engine.

    With `stream_mode="canvas"` a `step` event follows each denoising step. Its `data`:

        {"canvas": ["Once", " upon", null, …],       text of each new position, null where it is still masked
         "committed": [{"index": 1, "text": " upon", "confidence": 0.93}, …],
         "expanded": [3], "deleted": [],             positions that became two masks, or vanished
         "revoked": [],                              positions whose commit was taken back
         "forced": [],                               commits to which a constraint left no other token; else absent
         "step": 7, "nfe": 7}                        denoising steps and forward passes so far: one a step

    `canvas` is the state after the step; the indices of commits, expansions and deletions are positions before the
    expansions and deletions of the same step. The given text is not part of the canvas. A slow reader misses steps,
    and gets the newest.

    Args:
        location: folder or hub id of the checkpoint.
        demand: what it is to have memory for, or it is not loaded.
        max_length: what is reported until the checkpoint is loaded and its family known.
        family: of a checkpoint that is known without reading it; only the engine, which imports torch, reads one.
    """

    takes_token_ids = takes_template_options = True
    gives_logprobs = True
    special_tokens: tuple[str, ...] = ("<|endoftext|>",)  # of the published families, until the tokenizer is there

    def __init__(
        self,
        model_id: str,
        *,
        location: str,
        config: EngineConfig,
        demand: Demand = DEFAULT_DEMAND,
        name: str = "",
        description: str = "",
        max_length: int = 2048,
        family: TextFamily | None = None,
    ) -> None:
        super().__init__(model_id)
        self.name = name or model_id
        self.description = description
        self.max_length = max_length
        self._location = location
        self._config = config
        self._demand = demand
        self._loaded: Loaded | None = None
        self._family = family
        self._why_not_loaded: str | None = None

    # -- its life ----------------------------------------------------------------------------------------------------

    async def initialize(self) -> bool:
        self.problem = None
        try:
            self._loaded = await asyncio.to_thread(self._load)
        except (EngineError, TextError, OSError, MemoryError) as error:
            logger.error("model %r could not be loaded: %s", self.model_id, error)
            self.problem = str(error) or type(error).__name__
            return False
        self._family = self._loaded.family
        self.max_length = self._family.max_length
        self.algorithms = self._loaded.engine.algorithms
        self.special_tokens = self._loaded.tokenizer.markers
        self.context_length = self._loaded.config.context_length
        return True

    async def describe_itself(self) -> None:
        family = self._family or await asyncio.to_thread(family_at, self._location)
        self._family = self._family or family

    def _load(self) -> Loaded:
        """Blocking; raises an EngineError or a TextError."""
        return load(self._location, self._config, self._demand)

    async def close(self) -> None:
        loaded, self._loaded = self._loaded, None
        if loaded is None:
            return
        device = loaded.engine.device
        await asyncio.to_thread(loaded.engine.close)
        del loaded
        if device != "cpu":  # what is freed there stays with this process, and a successor would see a full device
            await asyncio.to_thread(_free_caches, device)

    @property
    def loaded(self) -> Loaded | None:
        """The checkpoint in memory, for adapters that share it."""
        return self._loaded

    @property
    def problem(self) -> str | None:
        """Why it could not be loaded, or why its engine has stopped."""
        if self._loaded is None:
            return self._why_not_loaded
        engine = self._loaded.engine
        return engine.problem or (None if engine.is_alive() else "its engine has stopped")

    @problem.setter
    def problem(self, problem: str | None) -> None:
        self._why_not_loaded = problem

    def differences(self, successor: NativeDiffusionModel) -> set[str]:
        """The differences to a model that is not loaded yet: fields of EngineConfig, and `location`."""
        mine, other = self._config, successor._config
        if self._loaded is not None:
            mine, other = map(self._loaded.engine.in_effect, (mine, other))
        differing = {field.name for field in fields(mine) if getattr(mine, field.name) != getattr(other, field.name)}
        return differing | ({"location"} if self._location != successor._location else set())

    # -- what the service asks ---------------------------------------------------------------------------------------

    @property
    def capabilities(self) -> tuple[Capability, ...]:
        """The operations of its family; what every family can until that is known."""
        if self._family is None:
            return "generate", "chat", "read"
        operations = self._family.capabilities
        constrains = self._loaded is None or self._loaded.constraints is not None
        return (*operations, "constrain") if constrains else operations

    def check_operation(self, params: Request | ReadingRequest) -> None:
        if self._family is not None:
            super().check_operation(params)

    @property
    def device(self) -> str:
        return self._loaded.engine.device if self._loaded is not None else self._config.device

    @property
    def memory_bytes(self) -> int:
        return self._loaded.engine.memory_bytes if self._loaded is not None else 0

    @property
    def counters(self) -> EngineCounters | None:
        return self._loaded.engine.counters if self._loaded is not None else None

    def prepare_request(self, params: Asked) -> Prepared:
        """The request, checked by `check` and by the checkpoint, which knows which parameters go together."""
        if isinstance(params, ReadingRequest):
            return super().prepare_request(params)
        self.check(params)
        from app.engine.request.validation import validate_params  # imports torch, which is there by now

        loaded = self._require()
        if isinstance(params, GivenAsIds):
            check_ids(params.token_ids, loaded.tokenizer)
        check_bias(params.logit_bias or {}, loaded.tokenizer)
        if isinstance(params, DiffusionChatParams):
            check_template_options(loaded, params)
        params = self.as_it_can(params)
        decoding = decoding_params(loaded.family, params, end_of_turn=loaded.tokenizer.end_of_turn_id)
        try:
            validate_params(decoding, loaded.config)
        except InvalidRequest as error:
            raise failure(error, self.model_id) from error
        check_combination(params, decoding)
        return Prepared(params, decoding)

    def details(self) -> DiffusionModelDetails:
        details = super().details()
        details.checkpoint = self._location
        if self._loaded is not None:
            details.dtype = self._loaded.engine.dtype
            details.quantization = self._loaded.engine.quantization
            report_memory(details, self._loaded.engine.memory_need)
            details.load_time = round(self._loaded.engine.load_time_s, 3)
            details.parameters = _bounds_for(self._loaded.family.name) | details.parameters
        return details

    # -- answering ---------------------------------------------------------------------------------------------------

    def generate_stream(self, params: DiffusionGenerationParams) -> AsyncIterator[ModelEvent]:
        return self.prepared_stream(self.prepare_request(params))

    def infill_stream(self, params: DiffusionInfillingParams) -> AsyncIterator[ModelEvent]:
        return self.prepared_stream(self.prepare_request(params))

    def read_stream(self, params: DiffusionReadParams) -> AsyncIterator[ModelEvent]:
        return self._read(lambda loaded: composed_reading(loaded, params))

    def decide_stream(self, params: DiffusionDecisionParams) -> AsyncIterator[ModelEvent]:
        return self._read(lambda loaded: composed_decision(loaded, params, self.model_id))

    def likelihood_stream(self, params: DiffusionLikelihoodParams) -> AsyncIterator[ModelEvent]:
        return self._read(lambda loaded: composed_scoring(loaded, params))

    async def encode(self, text: Encoding) -> Tokens:
        return await composed_tokens(self._require(), text, self.model_id)

    async def decode(self, token_ids: Sequence[int]) -> str:
        tokenizer = self._require().tokenizer
        check_known(token_ids, tokenizer)
        return await asyncio.to_thread(tokenizer.decode, token_ids, skip_special=False)

    async def describe_tokenizer(self) -> TokenizerFacts:
        loaded = self._require()
        return tokenizer_facts(loaded.family, loaded.tokenizer)

    def prepared_stream(self, prepared: Prepared) -> AsyncIterator[ModelEvent]:
        """The answer; whoever wants to change what this model answers overrides this."""
        if isinstance(prepared.params, DiffusionReadParams):
            return self.read_stream(prepared.params)
        if isinstance(prepared.params, DiffusionDecisionParams):
            return self.decide_stream(prepared.params)
        if isinstance(prepared.params, DiffusionLikelihoodParams):
            return self.likelihood_stream(prepared.params)
        return self._written(prepared, prepared.params)

    async def _read(self, compose: Callable[[Loaded], Awaitable[Canvases]]) -> AsyncIterator[ModelEvent]:
        loaded = self._require()
        composed = await compose(loaded)
        with _named(loaded) as name:
            async with aclosing(read_events(loaded, composed, name, self.model_id)) as events:
                async for event in events:
                    yield event

    async def _written(self, prepared: Prepared, params: Params) -> AsyncIterator[ModelEvent]:
        loaded = self._require()
        automaton = None
        if params.constraint is not None:
            if loaded.constraints is None:
                raise self._cannot("constrain")
            automaton = await loaded.constraints.automaton(params.constraint)
        prompt = await composed_prompt(loaded, params, self.model_id)
        prompt_text = (
            loaded.tokenizer.decode(prompt.prefix, skip_special=False) if isinstance(params, GivenAsIds) else None
        )
        translator = Translator(
            loaded.tokenizer, prompt.num_prompt_tokens, num_left_out=prompt.num_left_out, prompt_text=prompt_text
        )
        adapter = None if loaded.adapter is None else loaded.adapter.name
        with _named(loaded) as name:
            request = engine_request(name, prepared, prompt, loaded.config, adapter, automaton)
            async with aclosing(engine_events(loaded.engine, request, self.model_id)) as events:
                async for event in events:
                    for sent in translator.feed(event):
                        yield sent

    def _require(self) -> Loaded:
        if self._loaded is None:
            raise GenerationFailed(f"model {self.model_id!r} is not loaded")
        return self._loaded


def _bounds_for(family: str) -> dict[str, ParameterBound]:
    """The bounds of what a family takes; a model may have narrower ones of its own."""
    from app.engine.families.registry import family_named  # imports torch, which is there by now

    takes = family_named(family).takes
    return {name: ParameterBound.of(name) for name in _REPORTED if takes(ENGINE_NAMES[name])}


def _named(loaded: Loaded) -> AbstractContextManager[str]:
    """The name of the present call in its engine, for as long as it is there."""
    return loaded.names.taken(current_request_id() or secrets.token_hex(12))


def _free_caches(device: str) -> None:
    from app.engine.device.memory import free_caches

    free_caches(device)
