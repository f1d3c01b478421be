"""The answers to admin calls: models in detail, statistics, health, and the effects of calls."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from reynard_diffusion.results import DiffusionModelInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterBound:
    """The least and the greatest value of a numeric parameter."""

    minimum: float
    maximum: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryReport:
    """Megabytes that a model takes on its device while it answers, as estimated before it was loaded. `cache`, `logits`
    and `states` are those of a full batch."""

    weights: float
    cache: float
    """Keys and values that are cached between steps."""
    logits: float
    """Canvas times vocabulary, in the types that decoding needs."""
    states: float
    """States of the layer that is computed."""
    requests: int
    """Requests of the default `max_length` in a full batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffusionModelDetails(DiffusionModelInfo):
    """A model as it is described to an administrator."""

    algorithms: list[str]
    parameters: dict[str, ParameterBound]
    checkpoint: str | None = None
    context_length: int | None = None
    """Tokens, given and new, that it sees at a time."""
    dtype: str | None = None
    quantization: str | None = None
    """Quantization of the layers' weights."""
    memory: MemoryReport | None = None
    """The parts of `memory_needed`."""
    load_time: float | None = None
    """Seconds."""
    special_tokens: list[str] = field(default_factory=list)
    """Texts of its tokens that stand for no text."""
    requests_served: int = 0
    error: str | None = None
    """The reason why the model is not available."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffusionStatistics:
    """total_requests = successful_requests + failed_requests + cancelled_requests + requests_in_flight, always.
    Calls that are refused for a mistake of their client are no part of these: refused_requests counts them."""

    total_requests: int
    successful_requests: int
    failed_requests: int
    cancelled_requests: int
    requests_in_flight: int
    refused_requests: int = 0
    """Calls with a mistake of their client (4xx)."""
    failures: dict[str, int] = field(default_factory=dict)
    """Failed requests by code of the error."""
    refusals: dict[str, int] = field(default_factory=dict)
    """Refused calls by code of the error."""
    average_processing_time: float
    """Seconds, over the successful requests."""
    total_tokens_generated: int
    model_usage: dict[str, int]
    device_usage: dict[str, int]
    error_rate: float
    """Failed requests in percent of all finished ones, two decimals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentHealth:
    """The health of one model or device."""

    healthy: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffusionHealth:
    """The health of a server, by model and device."""

    healthy: bool
    status: Literal["healthy", "degraded", "unhealthy", "disabled"]
    models: dict[str, ComponentHealth]
    devices: dict[str, ComponentHealth]
    components: dict[str, ComponentHealth] = field(default_factory=dict)
    """All else, such as Redis."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanupReport:
    """The effect of releasing caches and idle models."""

    released_models: list[str]
    freed_bytes: int
    """Bytes that the system or the device has again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationChange:
    """The outcome of a partial update."""

    updated: dict[str, Any]
    needs_reload: list[str]
    """Settings, changed now or before, by which a model would be another one if it were loaded again."""
    configuration: dict[str, Any]
