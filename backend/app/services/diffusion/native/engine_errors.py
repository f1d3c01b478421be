"""Errors of the engine as those of the service."""

from __future__ import annotations

import logging

from app.core.parameters import ENGINE_NAMES
from app.engine.interface.errors import (
    EngineError,
    EngineStopped,
    InvalidRequest,
    LogitsNotFinite,
    OutOfDeviceMemory,
    QueueFull,
)
from app.services.diffusion.errors import (
    GenerationFailed,
    InvalidParameters,
    ModelUnavailable,
    OutOfMemory,
    Overloaded,
    ServiceError,
)

_PUBLIC_NAMES = {engine_name: name for name, engine_name in ENGINE_NAMES.items()}

logger = logging.getLogger(__name__)


def refusal(error: EngineError, model_id: str) -> ServiceError:
    """Why an engine has not taken a request. One that has stopped is being replaced by then."""
    if isinstance(error, EngineStopped):
        return ModelUnavailable(f"model {model_id!r} has broken down and is being loaded again; try again")
    return failure(error, model_id)


def failure(error: EngineError, model_id: str) -> ServiceError:
    """Why a request has failed in the engine. A defect goes into the log, for the client learns nothing of it."""
    if isinstance(error, InvalidRequest):
        return InvalidParameters(str(error), field=_PUBLIC_NAMES.get(error.field, error.field))
    if isinstance(error, QueueFull):
        return Overloaded(str(error))
    logger.error("model %r broke while answering: %s", model_id, error)
    if isinstance(error, OutOfDeviceMemory):
        return OutOfMemory(
            f"model {model_id!r} has no memory for this request now; try again later, or ask for a smaller max_length"
        )
    if isinstance(error, LogitsNotFinite):
        return GenerationFailed(f"model {model_id!r} broke: {error}")
    return GenerationFailed(f"model {model_id!r} broke while answering; the server's log says why")
