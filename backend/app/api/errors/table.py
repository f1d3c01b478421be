"""Every error that leaves over HTTP: its status, its code, its headers. The face of a request decides its form.

ApiError
├── MalformedRequest        not HTTP (400)
├── MalformedBody           not JSON (400)
├── AdminTokenRequired      an admin call without the right token (401)
├── ApiKeyRequired          another call without one of the keys (401)
├── LoopbackOnly            an admin call from elsewhere, with no token set (403)
├── BodyTooSlow             not there in time (408)
├── BodyTooLarge            over the limit (413)
├── UnknownField            a field that the request does not have, where nothing is passed over (400)
├── UnsupportedMediaType    not declared as JSON (415)
├── InvalidBody             JSON that does not fit the request (422)
├── RateLimited             more calls than one client may make (429)
├── NotReady                a request would not be answered now (503)
└── TooManyConnections      on a connection above the limit (503)

The service's own errors are drawn in `app/services/diffusion/errors.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Scope

from app.api.errors.allowed_methods import allowed_methods
from app.api.errors.form import form_of
from app.api.errors.given import given_value
from app.api.errors.problem import TYPE_PREFIX, FieldError, Problem, ServiceFieldError, renamed
from app.api.errors.refusal import note_refusal
from app.api.errors.validation import field_errors
from app.api.wire.disconnect import CLIENT_GONE, note_departure
from app.api.wire.kinds import is_admin_call
from app.api.wire.request_id import request_id
from app.services.diffusion.errors import (
    ContentRejected,
    GenerationCancelled,
    GenerationFailed,
    GenerationTimeout,
    InvalidParameters,
    ModelUnavailable,
    OutOfMemory,
    Overloaded,
    ServiceDisabled,
    ServiceError,
    UnknownModel,
    UnsupportedOperation,
)
from app.services.diffusion.public_words import public_text
from app.services.diffusion.requests.stats import UNFORESEEN


class ApiError(Exception):
    """The root of all that the HTTP layer itself refuses."""

    code = "bad_request"


class MalformedRequest(ApiError):
    """The request is not HTTP."""

    code = "malformed_request"


class MalformedBody(ApiError):
    """The body is not JSON."""

    code = "malformed_body"


class AdminTokenRequired(ApiError):
    """An admin call came without the right token."""

    code = "admin_token_required"


class ApiKeyRequired(ApiError):
    """A call came without one of the API keys."""

    code = "api_key_required"


class LoopbackOnly(ApiError):
    """An admin call came from elsewhere, and no token is set."""

    code = "loopback_only"


class BodyTooSlow(ApiError):
    """The body did not arrive in time."""

    code = "body_too_slow"


class BodyTooLarge(ApiError):
    """The body is larger than the limit."""

    code = "body_too_large"


class NotReady(ApiError):
    """A request would not be answered now."""

    code = "not_ready"
    retry_after_s = 5


class UnsupportedMediaType(ApiError):
    """The body is not declared as JSON."""

    code = "unsupported_media_type"


class InvalidBody(ApiError):
    """JSON that does not fit the request.

    Attributes:
        errors: what is wrong, field by field.
    """

    code = InvalidParameters.code

    def __init__(self, errors: Sequence[FieldError]) -> None:
        super().__init__("; ".join(error.message for error in errors))
        self.errors = list(errors)

    @classmethod
    def of(cls, error: ValidationError, given: Any, names: Mapping[str, str] | None = None) -> InvalidBody:
        """The error for what is wrong with a value that was `given`.

        Args:
            names: what the client calls fields that have another name there, where a request to the service was
                validated; `None` where it was the client's own.
        """
        errors = field_errors(error.errors(include_url=False), given)
        if names is None:
            return cls(errors)
        return cls(renamed([ServiceFieldError(**dict(each)) for each in errors], names))


class UnknownField(InvalidBody):
    """A field that the request does not have; only faces whose clients expect that refuse it by itself."""

    code = "unknown_field"

    @classmethod
    def of_errors(cls, errors: Iterable[ErrorDetails], given: Any) -> UnknownField:
        """The error for the unknown ones among the fields that were `given`."""
        return cls(field_errors(errors, given))


class RateLimited(ApiError):
    """More calls than one client may make.

    Attributes:
        retry_after_s: when the next one may succeed.
    """

    code = "rate_limited"

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TooManyConnections(ApiError):
    """The connection is one above the limit."""

    code = "too_many_connections"
    retry_after_s = 5


INTERNAL_CODE = UNFORESEEN
NOT_AGAIN = {"X-Should-Retry": "false"}
"""Headers of a request that ran out of time: OpenAI's clients send again whatever fails with 5xx, so the whole work
would be done, and given up, three times."""

PROBLEMS: dict[type[Exception], tuple[int, str]] = {
    MalformedRequest: (400, "The request is not valid HTTP"),
    MalformedBody: (400, "The body is not valid JSON"),
    AdminTokenRequired: (401, "The admin token is required"),
    ApiKeyRequired: (401, "An API key is required"),
    LoopbackOnly: (403, "Admin calls are answered on this machine only"),
    UnknownModel: (404, "There is no such model"),
    BodyTooSlow: (408, "The body did not arrive in time"),
    BodyTooLarge: (413, "The body is too large"),
    UnsupportedMediaType: (415, "The body is not declared as JSON"),
    UnknownField: (400, "A field is not known"),
    InvalidBody: (422, "A value is not allowed"),
    InvalidParameters: (422, "A value is not allowed"),
    UnsupportedOperation: (422, "The model cannot do this"),
    ContentRejected: (422, "The content filter refuses it"),
    RateLimited: (429, "Too many requests"),
    GenerationFailed: (500, "The model failed"),
    NotReady: (503, "The server is not ready"),
    GenerationCancelled: (503, "The request was given up"),
    ModelUnavailable: (503, "No model is available"),
    OutOfMemory: (503, "Memory is short"),
    Overloaded: (503, "Too many requests are waiting"),
    ServiceDisabled: (503, "The service is switched off"),
    TooManyConnections: (503, "Too many connections are open"),
    GenerationTimeout: (504, "The deadline passed"),
}


def problem_of(error: Exception, scope: Scope) -> Problem:
    """The error of a request as its client sees it. One not in the table is a 500, and hides its cause."""
    if isinstance(error, HTTPException):
        return _framework_problem(error, scope)
    known = next((cls for cls in type(error).__mro__ if cls in PROBLEMS), None)
    if known is None:
        return _problem(500, "Internal error", INTERNAL_CODE, "the cause is in the log under this request id")
    status, title = PROBLEMS[known]
    code = str(getattr(error, "code", INTERNAL_CODE))
    return _problem(status, title, code, _detail(error), errors=_field_errors(error, scope))


def problem_of_code(code: str, detail: str) -> Problem:
    """The problem that an `error` event of a stream reports."""
    internal = (500, "Internal error")
    status, title = next((entry for cls, entry in PROBLEMS.items() if getattr(cls, "code", "") == code), internal)
    return _problem(status, title, code, detail)


def headers_of_code(code: str) -> dict[str, str]:
    """The headers of an answer that is the problem of an `error` event."""
    kind = next((cls for cls in PROBLEMS if getattr(cls, "code", "") == code), None)
    return {} if kind is None else _when_again(kind)


def _problem(status: int, title: str, code: str, detail: str, **more: Any) -> Problem:
    return Problem(type=TYPE_PREFIX + code, title=title, status=status, code=code, detail=detail, **more)


def _framework_problem(error: HTTPException, scope: Scope) -> Problem:
    """The problem with what the router refuses: an unknown path, a method that the path does not have."""
    phrase, detail = HTTPStatus(error.status_code).phrase, error.detail
    if error.status_code == HTTPStatus.NOT_FOUND:
        detail = f"there is no {_path(scope)} here; /openapi.json lists the paths that there are"
    return _problem(error.status_code, phrase, phrase.lower().replace(" ", "_"), detail)


def _path(scope: Scope) -> str:
    raw_path: bytes = scope.get("raw_path", b"")
    return raw_path.decode("ascii", "replace")[:200]


def _detail(error: Exception) -> str:
    if isinstance(error, GenerationFailed):
        return "the model broke while answering; the cause is in the log under this request id"
    return str(error)


def _field_errors(error: Exception, scope: Scope) -> list[FieldError] | None:
    if isinstance(error, InvalidBody):
        return error.errors
    if isinstance(error, InvalidParameters):
        return [ServiceFieldError(field=error.field, message=str(error), value=given_value(scope, error.field))]
    if isinstance(error, ContentRejected) and error.field:  # nobody is told what was found
        return [ServiceFieldError(field=error.field, message=str(error))]
    return None


def _headers(error: Exception) -> dict[str, str]:
    if isinstance(error, HTTPException):
        return dict(error.headers or {})
    if isinstance(error, AdminTokenRequired | ApiKeyRequired):
        return {"WWW-Authenticate": "Bearer"}
    if isinstance(error, BodyTooSlow):
        return {"Connection": "close"}  # what still arrives is the rest of this body, and no next request
    return _when_again(error)


def _when_again(error: Exception | type[Exception]) -> dict[str, str]:
    """The headers that tell a client when to send its request again, or not to."""
    if isinstance(error, GenerationTimeout) or error is GenerationTimeout:
        return dict(NOT_AGAIN)
    retry_after_s = getattr(error, "retry_after_s", None)
    return {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}


def problem_response(scope: Scope, error: Exception) -> Response:
    """The error as the answer to this request, in the form that its client knows."""
    problem = problem_of(error, scope)
    if problem.status >= 500 and not is_admin_call(scope):
        problem.detail = public_text(problem.detail)
    problem.instance = _path(scope)
    problem.request_id = request_id(scope)
    if isinstance(error, GenerationTimeout):
        problem.partial, problem.generated_text = True, error.partial_text
    note_refusal(scope, problem.code)
    return form_of(scope).response(problem, _headers(error))


async def _answer(request: Request, error: Exception) -> Response:
    return problem_response(request.scope, error)


async def _answer_other_method(request: Request, error: Exception) -> Response:
    """Answers a method that no route has. OPTIONS asks which ones there are, so that one is no error."""
    is_question = request.method == "OPTIONS"
    response = Response(status_code=204) if is_question else problem_response(request.scope, error)
    response.headers["Allow"] = allowed_methods(request.scope)
    return response


async def _answer_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    given = {"path": request.path_params, "query": dict(request.query_params)}
    return problem_response(request.scope, InvalidBody(field_errors(error.errors(), given)))


async def _answer_nobody(request: Request, error: Exception) -> Response:
    note_departure(request.scope)
    return Response(status_code=CLIENT_GONE)


def add_error_handlers(app: FastAPI) -> None:
    """Answers every error of a route in the form of its face; `UnexpectedErrors` takes what is left."""
    app.add_exception_handler(ApiError, _answer)
    app.add_exception_handler(ServiceError, _answer)
    app.add_exception_handler(HTTPException, _answer)
    app.add_exception_handler(HTTPStatus.METHOD_NOT_ALLOWED, _answer_other_method)
    app.add_exception_handler(RequestValidationError, _answer_validation)
    app.add_exception_handler(ClientDisconnect, _answer_nobody)
