"""A model that runs in other processes, as one of the service's models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from app.services.diffusion.base import DiffusionModel
from app.services.diffusion.errors import ModelUnavailable, Overloaded, ServiceError
from app.services.diffusion.models import (
    DiffusionGenerationParams,
    DiffusionInfillingParams,
    DiffusionModelDetails,
    DiffusionStreamEvent,
    Operation,
)

LOOK_EVERY_S = 0.1


class RemoteModel(DiffusionModel):
    """Stands for all replicas of one deployment: Serve chooses which of them answers a request.

    Args:
        handle: of the deployment.
        replicas: those that are there now, and what they say.
        known: what is known of the model until one of them has spoken.
    """

    gives_logprobs = True  # or the replica refuses

    def __init__(
        self, handle: Any, replicas: Callable[[], Mapping[str, DiffusionModelDetails]], known: DiffusionModelDetails
    ) -> None:
        super().__init__(known.model_id)
        self._handle = handle
        self._replicas = replicas
        self._known = known
        self.max_length = known.max_length

    async def initialize(self) -> bool:
        """Waits until a replica has loaded the model, or could not; whether one has."""
        while not any(told.is_available or told.error for told in self._replicas().values()):
            await asyncio.sleep(LOOK_EVERY_S)
        self._known = self._spokesman
        self.max_length, self.context_length = self._known.max_length, self._known.context_length
        self.algorithms = tuple(self._known.algorithms)
        return self.problem is None

    @property
    def problem(self) -> str | None:  # type: ignore[override]  # the replicas know, and nobody else sets it
        replicas = self._replicas()
        if any(told.is_available for told in replicas.values()):
            return None
        told = next((told.error for told in replicas.values() if told.error), "its replicas are loading it")
        return told if replicas else f"no replica of {self.model_id!r} is running; Ray starts another"

    @property
    def capabilities(self) -> tuple[Operation, ...]:
        return tuple(self._known.capabilities)

    @property
    def device(self) -> str:
        return self._spokesman.device

    @property
    def memory_bytes(self) -> int:
        return round(sum(told.memory_usage for told in self._replicas().values()) * 1e6)

    def details(self) -> DiffusionModelDetails:
        return self._spokesman.model_copy(update={"memory_usage": round(self.memory_bytes / 1e6, 1)})

    def generate_stream(self, params: DiffusionGenerationParams) -> AsyncGenerator[DiffusionStreamEvent, None]:
        return self._answer(params)

    def infill_stream(self, params: DiffusionInfillingParams) -> AsyncGenerator[DiffusionStreamEvent, None]:
        return self._answer(params)

    @property
    def _spokesman(self) -> DiffusionModelDetails:
        """What the first replica says that answers, or any other."""
        replicas = sorted(self._replicas().values(), key=lambda told: not told.is_available)
        return replicas[0] if replicas else self._known

    async def _answer(
        self, params: DiffusionGenerationParams | DiffusionInfillingParams
    ) -> AsyncGenerator[DiffusionStreamEvent, None]:
        response = self._handle.options(stream=True).answer.remote(params)
        is_over = False
        try:
            async for batch in response:
                for item in batch:
                    is_over = isinstance(item, ServiceError) or item.type == "complete"
                    if isinstance(item, ServiceError):
                        raise item
                    yield item
        except BackPressureError:
            raise Overloaded(
                f"as many requests wait for model {self.model_id!r} as may (max_queued_requests); try again later"
            ) from None
        except (RayActorError, DeploymentUnavailableError) as error:
            raise ModelUnavailable(
                f"the replica of model {self.model_id!r} that was to answer is gone; send the request again"
            ) from error
        finally:
            if not is_over:
                response.cancel()  # without effect where it is gone
