from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.exceptions import HTTPException

from app.api.errors.openai_problem import OpenAIProblem
from app.api.errors.problem import FieldError
from app.api.errors.table import (
    ApiKeyRequired,
    BodyTooLarge,
    InvalidBody,
    RateLimited,
    UnsupportedMediaType,
    problem_response,
)
from app.services.diffusion.errors import (
    ContentRejected,
    GenerationFailed,
    GenerationTimeout,
    InvalidParameters,
    Overloaded,
    UnknownModel,
)
from tests.unit.api.asgi import http_scope

EXPECTED: list[tuple[Exception, int, str, str]] = [
    (InvalidParameters("m", field="a"), 400, "invalid_request_error", "invalid_parameters"),
    (InvalidBody([FieldError(field="a", message="m")]), 400, "invalid_request_error", "invalid_parameters"),
    (UnsupportedMediaType("m"), 400, "invalid_request_error", "unsupported_media_type"),
    (ContentRejected("m"), 400, "invalid_request_error", "content_filter"),
    (ApiKeyRequired("m"), 401, "authentication_error", "invalid_api_key"),
    (UnknownModel("m"), 404, "invalid_request_error", "model_not_found"),
    (HTTPException(404), 404, "invalid_request_error", "not_found"),
    (BodyTooLarge("m"), 413, "invalid_request_error", "body_too_large"),
    (RateLimited("m", retry_after_s=7), 429, "rate_limit_error", "rate_limit_exceeded"),
    (GenerationFailed("m"), 500, "server_error", "generation_failed"),
    (RuntimeError("secret"), 500, "server_error", "internal_error"),
    (Overloaded("m"), 503, "server_error", "queue_full"),
    (GenerationTimeout("m", partial_text="so far"), 504, "server_error", "timeout"),
]


def answer(error: Exception, path: str = "/v1/completions") -> tuple[int, dict[str, str], dict[str, Any]]:
    response = problem_response(http_scope(path), error)
    body: dict[str, Any] = json.loads(bytes(response.body))
    OpenAIProblem.model_validate(body, strict=True)
    return response.status_code, dict(response.headers), body["error"]


@pytest.mark.parametrize(("error", "status", "kind", "code"), EXPECTED, ids=lambda value: type(value).__name__)
def test_every_error_has_openais_form(error: Exception, status: int, kind: str, code: str) -> None:
    answered, headers, body = answer(error)
    assert (answered, body["type"], body["code"]) == (status, kind, code)
    assert headers["content-type"] == "application/json"
    assert body["message"]
    assert "secret" not in json.dumps(body)


def test_headers_stay() -> None:
    assert answer(RateLimited("m", retry_after_s=7))[1]["retry-after"] == "7"
    assert answer(ApiKeyRequired("m"))[1]["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/infill", "/props", "/health", "/v1/no-such"])
def test_other_paths_with_this_form_get_it_too(path: str) -> None:
    assert answer(UnknownModel("m"), path)[0] == 404


@pytest.mark.parametrize(
    ("field", "message", "param", "told"),
    [
        ("max_length", "max_length=1500 is above 1024", "max_tokens", "max_tokens=1500 is above 1024"),
        ("model_id", "model 'x' cannot infill", "model", "model 'x' cannot infill"),
        ("seed", "seed=-1 is below 0", "seed", "seed=-1 is below 0"),
        ("prefix", "prefix has 6000 characters", "prompt", "prompt has 6000 characters"),
    ],
)
def test_fields_have_the_names_that_the_client_knows(field: str, message: str, param: str, told: str) -> None:
    _, _, body = answer(InvalidParameters(message, field=field))
    assert (body["param"], body["message"]) == (param, told)
