"""Turns an answer that is no success into an exception."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from time import time
from typing import Any

from reynard_diffusion.errors import (
    AccessDenied,
    DiffusionError,
    FieldError,
    GenerationTimeout,
    InvalidRequest,
    NotFound,
    RateLimited,
    ServerFailed,
    Unavailable,
)

BY_STATUS: dict[int, type[DiffusionError]] = {
    400: InvalidRequest,
    401: AccessDenied,
    403: AccessDenied,
    404: NotFound,
    408: InvalidRequest,
    413: InvalidRequest,
    415: InvalidRequest,
    422: InvalidRequest,
    429: RateLimited,
    503: Unavailable,
    504: GenerationTimeout,
}

BY_CODE: dict[str, type[DiffusionError]] = {
    "cancelled": Unavailable,
    "content_filter": InvalidRequest,
    "content_rejected": InvalidRequest,
    "disabled": Unavailable,
    "invalid_parameters": InvalidRequest,
    "model_not_found": NotFound,
    "model_unavailable": Unavailable,
    "out_of_memory": Unavailable,
    "queue_full": Unavailable,
    "timeout": GenerationTimeout,
    "unknown_model": NotFound,
    "unsupported_operation": InvalidRequest,
}
"""The error by code, for a stream that had begun, whose status was 200; under `/v1` some codes are OpenAI's."""

GIVE_API_KEY = "give api_key to the client (DIFFUSION_API_KEY on the command line)"
WAYS_OUT = {
    "admin_token_required": "give admin_token to the client (DIFFUSION_ADMIN_TOKEN on the command line)",
    "api_key_required": GIVE_API_KEY,
    "invalid_api_key": GIVE_API_KEY,
}
"""The ways out that the server's own message cannot name, since it speaks of headers."""


def problem_of(status: int, headers: Mapping[str, str], body: bytes) -> DiffusionError:
    """The error in an answer with this status, from the server or from a proxy on the way."""
    problem = _problem_in(body)
    code = str(problem.get("code") or "")
    retry_after_s = _retry_after_s(headers.get("retry-after", ""))
    request_id = str(problem.get("request_id") or headers.get("x-request-id", ""))
    return BY_STATUS.get(status, ServerFailed)(
        _message(_detail(problem, status), code, retry_after_s, request_id),
        status=status,
        code=code,
        errors=_field_errors(problem.get("errors")),
        retry_after_s=retry_after_s,
        request_id=request_id,
        partial_text=str(problem.get("generated_text") or problem.get("infilled_text") or ""),
    )


def problem_in_stream(message: str, *, code: str, request_id: str = "", partial_text: str = "") -> DiffusionError:
    """The error that ended a stream."""
    return BY_CODE.get(code, ServerFailed)(
        _message(message, code, None, request_id), code=code, request_id=request_id, partial_text=partial_text
    )


def _problem_in(body: bytes) -> dict[str, Any]:
    """The fields of a JSON answer: a problem document, OpenAI's `{"error": …}` or System One's `{"detail": {…}}`, both
    under `/v1`; empty for others."""
    with suppress(ValueError):
        content = json.loads(body)
        if isinstance(content, dict):
            error, detail = content.get("error"), content.get("detail")
            if isinstance(detail, dict):
                return {"detail": detail.get("message"), "code": detail.get("error_type")}
            return {"detail": error.get("message"), **error} if isinstance(error, dict) else content
    return {}


def _detail(problem: Mapping[str, Any], status: int) -> str:
    if detail := problem.get("detail"):
        return str(detail)
    with suppress(ValueError):
        return f"the server answered {status} {HTTPStatus(status).phrase}"
    return f"the server answered {status}"


def _message(detail: str, code: str, retry_after_s: float | None, request_id: str) -> str:
    parts = [detail, WAYS_OUT.get(code), None if retry_after_s is None else f"try again in {retry_after_s:g} s"]
    source = ", ".join(filter(None, [code, request_id and f"request {request_id}"]))
    return "; ".join(filter(None, parts)) + (f" ({source})" if source else "")


def _field_errors(errors: Any) -> tuple[FieldError, ...]:
    if not isinstance(errors, list):
        return ()
    return tuple(FieldError(str(e.get("field", "")), str(e.get("message", ""))) for e in errors if isinstance(e, dict))


def _retry_after_s(header: str) -> float | None:
    """The seconds to wait, from the server's number of seconds or from the date that a proxy may give."""
    if header.strip().isdecimal():
        return float(header)
    with suppress(ValueError):
        return max(0.0, parsedate_to_datetime(header).timestamp() - time())
    return None
