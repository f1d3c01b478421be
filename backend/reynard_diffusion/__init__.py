"""Clients of the server for Python, over HTTP: one that blocks and one for asyncio, with the same calls.

The package needs httpx alone, and nothing of the server. Results and events are frozen dataclasses with the fields that
the server documents.
"""

from reynard_diffusion.async_client import AsyncDiffusionClient
from reynard_diffusion.errors import (
    AccessDenied,
    ConnectionLost,
    DiffusionError,
    FieldError,
    GenerationTimeout,
    InvalidRequest,
    NotFound,
    RateLimited,
    ServerFailed,
    ServerUnreachable,
    Unavailable,
    UnexpectedAnswer,
)
from reynard_diffusion.options import DEFAULT_URL
from reynard_diffusion.parameters import Parameters
from reynard_diffusion.reports import (
    CleanupReport,
    ComponentHealth,
    ConfigurationChange,
    DiffusionHealth,
    DiffusionModelDetails,
    DiffusionStatistics,
    MemoryReport,
    ParameterBound,
)
from reynard_diffusion.results import DiffusionModelInfo, DiffusionStreamEvent, GenerationResult
from reynard_diffusion.streams import AsyncEventStream, EventStream
from reynard_diffusion.sync_client import DiffusionClient

__all__ = [
    "DEFAULT_URL",
    "AccessDenied",
    "AsyncDiffusionClient",
    "AsyncEventStream",
    "CleanupReport",
    "ComponentHealth",
    "ConfigurationChange",
    "ConnectionLost",
    "DiffusionClient",
    "DiffusionError",
    "DiffusionHealth",
    "DiffusionModelDetails",
    "DiffusionModelInfo",
    "DiffusionStatistics",
    "DiffusionStreamEvent",
    "EventStream",
    "FieldError",
    "GenerationResult",
    "GenerationTimeout",
    "InvalidRequest",
    "MemoryReport",
    "NotFound",
    "ParameterBound",
    "Parameters",
    "RateLimited",
    "ServerFailed",
    "ServerUnreachable",
    "Unavailable",
    "UnexpectedAnswer",
]
