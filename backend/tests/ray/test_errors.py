from __future__ import annotations

import inspect
from typing import Any, cast

import pytest
import ray.serve.exceptions
from ray import exceptions
from ray.serve._private.common import DeploymentID
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    RayServeException,
    ReplicaUnavailableError,
    RequestCancelledError,
)

from app.api.errors.table import problem_of
from app.ray.errors import MAX_LINE_CHARS, RAY_ERRORS, one_line, service_error
from app.services.diffusion.errors import InvalidParameters, ServiceError

pytestmark = pytest.mark.ray

errors: Any = exceptions
"""Ray's exceptions, which have no types."""


def wrapped(cause: Exception) -> Exception:
    """The exception that Ray raises at the caller for one of an actor's method."""
    text = "Traceback (most recent call last):\n" * 45
    error = errors.RayTaskError("answer", text, cause)
    if isinstance(cause, ServiceError):
        return cast(Exception, error)  # Ray would make a class below that of the cause, which other tests would find
    return cast(Exception, error.make_dual_exception_instance())


def all_classes() -> list[type[Exception]]:
    modules = (exceptions, ray.serve.exceptions)
    found = [cls for module in modules for _, cls in inspect.getmembers(module, inspect.isclass)]
    return [cls for cls in found if issubclass(cls, RAY_ERRORS)]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BackPressureError(num_queued_requests=64, max_queued_requests=64), "queue_full"),
        (wrapped(BackPressureError(num_queued_requests=64, max_queued_requests=64)), "queue_full"),
        (errors.PendingCallsLimitExceeded(), "queue_full"),
        (errors.OutOfMemoryError("killed"), "out_of_memory"),
        (errors.GetTimeoutError(), "timeout"),
        (RequestCancelledError("id"), "cancelled"),
        (DeploymentUnavailableError(DeploymentID("model-llada")), "model_unavailable"),
        (ReplicaUnavailableError("id"), "model_unavailable"),
        (errors.ActorDiedError(), "model_unavailable"),
        (wrapped(errors.ActorDiedError()), "model_unavailable"),
        (errors.ActorUnavailableError("being started again", None), "model_unavailable"),
        (errors.NodeDiedError("gone"), "model_unavailable"),
        (errors.RaySystemError("broken"), "model_unavailable"),
        (RayServeException("an upstream actor died"), "model_unavailable"),
        (wrapped(InvalidParameters("steps=0", field="steps")), "invalid_parameters"),
        (wrapped(ValueError("a defect")), "generation_failed"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_each_error_of_ray_has_a_meaning_for_clients(error: Exception, code: str) -> None:
    ours = service_error(error, "llada")
    assert ours.code == code
    assert problem_of(ours, {}).status == {"invalid_parameters": 422, "generation_failed": 500, "timeout": 504}.get(
        code, 503
    )


@pytest.mark.parametrize("cls", all_classes(), ids=lambda cls: cls.__name__)
def test_only_an_error_that_a_replica_raised_is_a_defect_of_the_model(cls: type[Exception]) -> None:
    error = cls.__new__(cls)
    if isinstance(error, errors.RayTaskError):
        error.cause = errors.RayError()
    status = problem_of(service_error(error, "llada"), {}).status
    assert status in (503, 504)


def test_an_error_of_the_service_arrives_as_it_was_raised() -> None:
    inside = InvalidParameters("steps=0 is wrong", field="steps")
    outside = service_error(wrapped(inside), "llada")
    assert isinstance(outside, InvalidParameters)
    assert (str(outside), outside.field) == ("steps=0 is wrong", "steps")


@pytest.mark.parametrize(
    "error",
    [errors.ActorDiedError(), BackPressureError(1, 1), errors.OutOfMemoryError("x"), errors.RaySystemError("x")],
)
def test_a_message_says_what_to_do(error: Exception) -> None:
    ours: ServiceError = service_error(error, "llada")
    assert "again" in str(ours)
    assert "'llada'" in str(ours)


@pytest.mark.parametrize(
    "error", [errors.ActorDiedError(), wrapped(ValueError("first\nsecond " * 500)), errors.RayError()]
)
def test_a_log_gets_one_line(error: Exception) -> None:
    line = one_line(error)
    assert "\n" not in line
    assert "Traceback" not in line
    assert len(line) < MAX_LINE_CHARS + 50
