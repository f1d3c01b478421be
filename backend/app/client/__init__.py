"""Clients of the server for Python, over HTTP: one that blocks and one for asyncio, with the same calls.

The package is light: it imports neither torch nor the engine. Results and events are the service's own types, so they
are the same here as in the server's process.
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
from app.client.streams import AsyncEventStream, EventStream
from app.client.sync_client import DiffusionClient
from app.core.parameters import Parameters
from app.services.diffusion.models import DiffusionStreamEvent, GenerationResult

__all__ = [
    "DEFAULT_URL",
    "AccessDenied",
    "AsyncDiffusionClient",
    "AsyncEventStream",
    "ConnectionLost",
    "DiffusionClient",
    "DiffusionError",
    "DiffusionStreamEvent",
    "EventStream",
    "FieldError",
    "GenerationResult",
    "GenerationTimeout",
    "InvalidRequest",
    "NotFound",
    "Parameters",
    "RateLimited",
    "ServerFailed",
    "ServerUnreachable",
    "Unavailable",
    "UnexpectedAnswer",
]
