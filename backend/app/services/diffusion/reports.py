"""The service's reports to an administrator: models in detail, statistics, health, and the effects of calls."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from app.core.parameters import PARAMETERS
from app.services.diffusion.models import DiffusionModelInfo


class ParameterBound(BaseModel):
    """The least and the greatest value of a numeric parameter."""

    minimum: float
    maximum: float

    @classmethod
    def of(cls, name: str) -> Self:
        """The bounds that every request is held to."""
        row = PARAMETERS[name]
        return cls(minimum=row.least, maximum=row.greatest)


class MemoryReport(BaseModel):
    """Megabytes that a model takes on its device while it answers, as estimated before it was loaded. `cache`, `logits`
    and `states` are those of a full batch."""

    weights: float
    cache: float = Field(description="Keys and values that are cached between steps.")
    logits: float = Field(description="Canvas times vocabulary, in the types that decoding needs.")
    states: float = Field(description="Of the layer that is computed.")
    requests: int = Field(description="Requests of the default `max_length` in a full batch.")


class DiffusionModelDetails(DiffusionModelInfo):
    """A model as the admin path describes it."""

    algorithms: list[str]
    parameters: dict[str, ParameterBound]
    checkpoint: str | None = None
    context_length: int | None = Field(None, description="Tokens, given and new, that it sees at a time.")
    dtype: str | None = None
    quantization: str | None = Field(None, description="Of the layers' weights.")
    memory: MemoryReport | None = Field(None, description="The parts of `memory_needed`.")
    load_time: float | None = Field(None, description="Seconds.")
    special_tokens: list[str] = Field([], description="Texts of its tokens that stand for no text.")
    requests_served: int = 0
    error: str | None = Field(None, description="Why the model is not available.")


class DiffusionStatistics(BaseModel):
    """total_requests = successful_requests + failed_requests + cancelled_requests + requests_in_flight, always.
    What is refused for a mistake of its client is no part of these: refused_requests counts it."""

    model_config = ConfigDict(protected_namespaces=())

    total_requests: int
    successful_requests: int
    failed_requests: int
    cancelled_requests: int
    requests_in_flight: int
    refused_requests: int = Field(0, description="Calls with a mistake of their client (4xx), whoever noticed it.")
    failures: dict[str, int] = Field(default_factory=dict, description="Failed requests by code of the error.")
    refusals: dict[str, int] = Field(default_factory=dict, description="Refused calls by code of the error.")
    average_processing_time: float = Field(description="Seconds, over the successful requests.")
    total_tokens_generated: int
    model_usage: dict[str, int]
    device_usage: dict[str, int]
    error_rate: float = Field(description="Failed requests in percent of all finished ones, two decimals.")


class ComponentHealth(BaseModel):
    """One model or device."""

    healthy: bool
    detail: str


class DiffusionHealth(BaseModel):
    healthy: bool
    status: Literal["healthy", "degraded", "unhealthy", "disabled"]
    models: dict[str, ComponentHealth]
    devices: dict[str, ComponentHealth]
    components: dict[str, ComponentHealth] = Field(default_factory=dict, description="All else, such as Redis.")


class CleanupReport(BaseModel):
    """The effect of releasing caches and idle models."""

    released_models: list[str]
    freed_bytes: int = Field(description="That the system or the device has again.")


class ConfigurationChange(BaseModel):
    """The outcome of a partial update."""

    updated: dict[str, Any]
    needs_reload: list[str] = Field(
        description="Settings, changed now or before, by which a model would be another one if it were loaded again."
    )
    configuration: dict[str, Any]
