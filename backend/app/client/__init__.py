"""Clients of the server for Python, over HTTP: one that blocks and one for asyncio, with the same calls.

The package needs httpx alone, and nothing of the server. Results and events are frozen dataclasses with the fields that
the server documents.
"""

from app.client.async_client import AsyncDiffusionClient
from app.client.errors import (
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
from app.client.options import DEFAULT_URL
from app.client.parameters import Parameters
from app.client.reports import (
    CleanupReport,
    ComponentHealth,
    ConfigurationChange,
    DiffusionHealth,
    DiffusionModelDetails,
    DiffusionStatistics,
    MemoryReport,
    ParameterBound,
)
from app.client.results import DiffusionModelInfo, DiffusionStreamEvent, GenerationResult
from app.client.streams import AsyncEventStream, EventStream
from app.client.sync_client import DiffusionClient

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
