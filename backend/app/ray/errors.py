"""Errors of Ray and Serve as the service's errors, by one table, and in one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from ray.exceptions import (
    GetTimeoutError,
    ObjectStoreFullError,
    OutOfMemoryError,
    PendingCallsLimitExceeded,
    RayActorError,
    RayChannelTimeoutError,
    RayError,
    RayTaskError,
    TaskCancelledError,
)
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException

from app.services.diffusion.errors import (
    GenerationCancelled,
    GenerationFailed,
    GenerationTimeout,
    ModelUnavailable,
    OutOfMemory,
    Overloaded,
    ServiceError,
)

RAY_ERRORS = (RayError, RayServeException)
"""Everything that a call of an actor or of a deployment raises on purpose."""

MAX_LINE_CHARS = 300

_Meaning: TypeAlias = tuple[tuple[type[BaseException], ...], Callable[[str], ServiceError]]

_MEANINGS: tuple[_Meaning, ...] = (
    (
        (BackPressureError, PendingCallsLimitExceeded),
        lambda model_id: Overloaded(
            f"as many requests wait for model {model_id!r} as may (max_queued_requests); try again later"
        ),
    ),
    (
        (OutOfMemoryError, ObjectStoreFullError),
        lambda model_id: OutOfMemory(
            f"the node of the replica of model {model_id!r} that was to answer ran out of memory; try again later"
        ),
    ),
    (
        (GetTimeoutError, RayChannelTimeoutError),
        lambda model_id: GenerationTimeout(f"the replica of model {model_id!r} did not answer in time; ask for less"),
    ),
    ((TaskCancelledError,), lambda model_id: GenerationCancelled(f"the request to model {model_id!r} was given up")),
    (
        (DeploymentUnavailableError,),
        lambda model_id: ModelUnavailable(
            f"model {model_id!r} could not be deployed; the log of Serve's controller says why"
        ),
    ),
    (
        (RayActorError,),
        lambda model_id: ModelUnavailable(
            f"the replica of model {model_id!r} that was to answer is gone; send the request again"
        ),
    ),
    (
        RAY_ERRORS,
        lambda model_id: ModelUnavailable(f"no replica of model {model_id!r} can be reached; send the request again"),
    ),
)
"""The first line that fits holds."""


def service_error(error: BaseException, model_id: str) -> ServiceError:
    """The error that a client of this model gets for what Ray raised. What broke inside a replica comes wrapped, and
    counts as what it was there."""
    cause = error.cause if isinstance(error, RayTaskError) else error
    if isinstance(cause, ServiceError):
        return cause
    for classes, as_ours in _MEANINGS:
        if isinstance(cause, classes):
            return as_ours(model_id)
    return GenerationFailed(f"model {model_id!r} broke while answering; the log of its replica says why")


def one_line(error: BaseException) -> str:
    """The error for a log: Ray's own texts have up to fifty lines, of which the last says what happened."""
    cause = error.cause if isinstance(error, RayTaskError) else error
    lines = [line for line in str(cause).splitlines() if line.strip()]
    last = lines[-1].strip() if lines else "no reason given"
    return f"{type(cause).__name__}: {last[:MAX_LINE_CHARS]}"
