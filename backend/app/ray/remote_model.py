"""A model that runs in other processes, as one of the service's models."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any, cast

from app.core.logging import current_request_id
from app.ray.arrivals import Arrivals
from app.ray.errors import RAY_ERRORS, one_line, service_error
from app.services.diffusion.base import DiffusionModel
from app.services.diffusion.decisions import DiffusionDecisionParams
from app.services.diffusion.errors import Overloaded, ServiceError
from app.services.diffusion.likelihood import DiffusionLikelihoodParams
from app.services.diffusion.model_events import Ended, ModelEvent
from app.services.diffusion.models import Capability, DiffusionGenerationParams, DiffusionInfillingParams
from app.services.diffusion.reading import Asked, DiffusionReadParams
from app.services.diffusion.reports import DiffusionModelDetails
from app.services.diffusion.tokens import Encoding, TokenizerFacts, TokenizerMethod, Tokens

LOOK_EVERY_S = 0.1

logger = logging.getLogger(__name__)


class RemoteModel(DiffusionModel):
    """Stands for all replicas of one deployment: Serve chooses which of them answers a request.

    Args:
        handle: of the deployment.
        replicas: those that are there now, and what they say.
        known: what is known of the model until one of them has spoken.
        arrivals: counts the requests of this ingress that are at the model.
    """

    takes_token_ids = takes_template_options = gives_logprobs = True  # or the replica refuses

    def __init__(
        self,
        handle: Any,
        replicas: Callable[[], Mapping[str, DiffusionModelDetails]],
        known: DiffusionModelDetails,
        arrivals: Arrivals,
    ) -> None:
        super().__init__(known.model_id)
        self._handle = handle
        self._replicas = replicas
        self._known = known
        self._arrivals = arrivals
        self.max_length = known.max_length

    async def initialize(self) -> bool:
        """Waits until a replica has loaded the model, or could not; whether one has."""
        while not any(details.is_available or details.error for details in self._replicas().values()):
            await asyncio.sleep(LOOK_EVERY_S)
        self._known = self._spokesman
        self.max_length, self.context_length = self._known.max_length, self._known.context_length
        self.algorithms = tuple(self._known.algorithms)
        return self.problem is None

    @property
    def problem(self) -> str | None:  # type: ignore[override]  # the replicas know, and nobody else sets it
        replicas = self._replicas()
        if any(details.is_available for details in replicas.values()):
            return None
        error = next((details.error for details in replicas.values() if details.error), "its replicas are loading it")
        return error if replicas else f"no replica of {self.model_id!r} is running; Ray starts another"

    @property
    def capabilities(self) -> tuple[Capability, ...]:
        return cast(tuple[Capability, ...], tuple(self._known.capabilities))

    @property
    def device(self) -> str:
        return self._spokesman.device

    @property
    def memory_bytes(self) -> int:
        return round(sum(details.memory_usage for details in self._replicas().values()) * 1e6)

    def details(self) -> DiffusionModelDetails:
        return self._spokesman.model_copy(update={"memory_usage": round(self.memory_bytes / 1e6, 1)})

    def generate_stream(self, params: DiffusionGenerationParams) -> AsyncGenerator[ModelEvent, None]:
        return self._answer(params)

    def read_stream(self, params: DiffusionReadParams) -> AsyncGenerator[ModelEvent, None]:
        return self._answer(params)

    def decide_stream(self, params: DiffusionDecisionParams) -> AsyncGenerator[ModelEvent, None]:
        return self._answer(params)

    def likelihood_stream(self, params: DiffusionLikelihoodParams) -> AsyncGenerator[ModelEvent, None]:
        return self._answer(params)

    def infill_stream(self, params: DiffusionInfillingParams) -> AsyncGenerator[ModelEvent, None]:
        return self._answer(params)

    async def encode(self, text: Encoding) -> Tokens:
        return cast(Tokens, await self._consulted("encode", text))

    async def decode(self, token_ids: Sequence[int]) -> str:
        return cast(str, await self._consulted("decode", token_ids))

    async def describe_tokenizer(self) -> TokenizerFacts:
        return cast(TokenizerFacts, await self._consulted("describe_tokenizer"))

    @property
    def _spokesman(self) -> DiffusionModelDetails:
        """The details of the first replica that answers, or of any other."""
        replicas = sorted(self._replicas().values(), key=lambda details: not details.is_available)
        return replicas[0] if replicas else self._known

    async def refusal(self, params: Asked) -> str | None:
        """Why a replica cannot take these parameters.

        Raises:
            ServiceError: none of them can be asked.
        """
        try:
            refusal: str | None = await self._handle.check.remote(params)
        except RAY_ERRORS as error:
            raise self._explained(error) from None
        return refusal

    async def _consulted(self, method: TokenizerMethod, *arguments: Any) -> Any:
        """A replica's answer about its tokenizer. Raises the ServiceError that it has instead of one."""
        try:
            answer = await self._handle.consult.remote(method, *arguments)
        except RAY_ERRORS as error:
            raise self._explained(error) from None
        if isinstance(answer, ServiceError):
            raise answer
        return answer

    async def _answer(self, params: Asked) -> AsyncGenerator[ModelEvent, None]:
        num_replicas = sum(details.is_available for details in self._replicas().values())
        with self._arrivals.arrival(num_replicas):
            try:
                response = self._handle.options(stream=True).answer.remote(params, current_request_id())
                async with aclosing(_events(response)) as events:
                    async for event in events:
                        yield event
            except RAY_ERRORS as error:
                raise self._explained(error) from None

    def _explained(self, error: Exception) -> ServiceError:
        """The error for the client; its cause goes into the log. An overload has none."""
        ours = service_error(error, self.model_id)
        if not isinstance(ours, Overloaded):
            logger.warning("model %r: %s", self.model_id, one_line(error))
        return ours


async def _events(response: Any) -> AsyncGenerator[ModelEvent, None]:
    """The events that come from a replica in batches. Whoever leaves early ends the work there.

    Raises:
        ServiceError: the replica's own; it comes as an item.
    """
    is_over = False
    try:
        async for batch in response:
            for item in batch:
                is_over = isinstance(item, ServiceError | Ended)
                if isinstance(item, ServiceError):
                    raise item
                yield item
    finally:
        if not is_over:
            # Serve raises here once more what the request failed with, and Ray for what is gone: nothing is left to be
            # ended then, and the error that is under way must not be hidden.
            with suppress(Exception):
                response.cancel()
