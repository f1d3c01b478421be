from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.exceptions import HTTPException

from app.api.errors.problem import FieldError, Problem
from app.api.errors.table import (
    PROBLEMS,
    AdminTokenRequired,
    ApiError,
    ApiKeyRequired,
    BodyTooLarge,
    BodyTooSlow,
    InvalidBody,
    LoopbackOnly,
    MalformedBody,
    MalformedRequest,
    NotReady,
    RateLimited,
    TooManyConnections,
    UnknownField,
    UnsupportedMediaType,
    headers_of_code,
    problem_response,
)
from app.services.diffusion.errors import (
    ContentRejected,
    GenerationCancelled,
    GenerationFailed,
    GenerationTimeout,
    InvalidParameters,
    ModelUnavailable,
    OutOfMemory,
    Overloaded,
    Refusal,
    ServiceDisabled,
    ServiceError,
    UnknownModel,
    UnsupportedOperation,
)
from app.services.diffusion.requests.call import Call
from tests.unit.api.asgi import http_scope

EXPECTED: list[tuple[Exception, int, str, dict[str, str]]] = [
    (MalformedRequest("m"), 400, "malformed_request", {}),
    (MalformedBody("m"), 400, "malformed_body", {}),
    (AdminTokenRequired("m"), 401, "admin_token_required", {"www-authenticate": "Bearer"}),
    (ApiKeyRequired("m"), 401, "api_key_required", {"www-authenticate": "Bearer"}),
    (LoopbackOnly("m"), 403, "loopback_only", {}),
    (UnknownModel("m"), 404, "unknown_model", {}),
    (BodyTooSlow("m"), 408, "body_too_slow", {"connection": "close"}),
    (BodyTooLarge("m"), 413, "body_too_large", {}),
    (UnsupportedMediaType("m"), 415, "unsupported_media_type", {}),
    (UnknownField([FieldError(field="a", message="m")]), 400, "unknown_field", {}),
    (InvalidBody([FieldError(field="a", message="m")]), 422, "invalid_parameters", {}),
    (InvalidParameters("m", field="a"), 422, "invalid_parameters", {}),
    (UnsupportedOperation("m", field="a"), 422, "unsupported_operation", {}),
    (ContentRejected("m"), 422, "content_rejected", {}),
    (RateLimited("m", retry_after_s=7), 429, "rate_limited", {"retry-after": "7"}),
    (GenerationFailed("m"), 500, "generation_failed", {}),
    (GenerationCancelled("m"), 503, "cancelled", {"retry-after": "5"}),
    (ModelUnavailable("m"), 503, "model_unavailable", {"retry-after": "5"}),
    (OutOfMemory("m"), 503, "out_of_memory", {"retry-after": "5"}),
    (Overloaded("m"), 503, "queue_full", {"retry-after": "1"}),
    (ServiceDisabled("m"), 503, "disabled", {"retry-after": "30"}),
    (NotReady("m"), 503, "not_ready", {"retry-after": "5"}),
    (TooManyConnections("m"), 503, "too_many_connections", {"retry-after": "5"}),
    (GenerationTimeout("m"), 504, "timeout", {}),
    (HTTPException(404), 404, "not_found", {}),
    (HTTPException(405, headers={"Allow": "POST"}), 405, "method_not_allowed", {"allow": "POST"}),
    (ServiceError("secret"), 500, "internal_error", {}),
    (RuntimeError("secret"), 500, "internal_error", {}),
]


def answer(error: Exception, path: str = "/api/diffusion/generate") -> tuple[int, dict[str, str], dict[str, Any]]:
    scope = http_scope(path)
    scope["state"]["call"] = Call("id-1")
    response = problem_response(scope, error)
    return response.status_code, dict(response.headers), json.loads(bytes(response.body))


@pytest.mark.parametrize(("error", "status", "code", "headers"), EXPECTED, ids=lambda value: type(value).__name__)
def test_every_error_is_a_problem_document(error: Exception, status: int, code: str, headers: dict[str, str]) -> None:
    answered_status, answered_headers, body = answer(error)
    assert answered_status == body["status"] == status
    assert answered_headers["content-type"] == "application/problem+json"
    assert headers.items() <= answered_headers.items()
    assert ("retry-after" in answered_headers) == ("retry-after" in headers)
    assert body["code"] == code
    assert body["type"] == f"urn:reynard-diffusion:error:{code}"
    assert body["success"] is False
    assert (body["request_id"], body["instance"]) == ("id-1", "/api/diffusion/generate")
    assert body["title"]
    assert body["detail"]
    Problem.model_validate(body)


@pytest.mark.parametrize("error", [error for error, *_ in EXPECTED if isinstance(error, ServiceError)], ids=repr)
def test_an_error_that_was_an_event_says_as_much_of_when_to_ask_again(error: ServiceError) -> None:
    _, headers, _ = answer(error)
    told = {name.lower(): value for name, value in headers_of_code(error.code).items()}
    assert told == {name: headers[name] for name in ("retry-after", "x-should-retry") if name in headers}


def leaves(root: type[Exception]) -> set[type[Exception]]:
    below = root.__subclasses__()
    return set().union(*map(leaves, below)) if below else {root}


def test_the_table_covers_both_trees() -> None:
    for root in (ApiError, ServiceError):
        assert leaves(root) <= set(PROBLEMS)
    assert {type(error) for error, *_ in EXPECTED} >= set(PROBLEMS)


def test_the_service_counts_exactly_what_is_a_4xx_as_refused() -> None:
    """Otherwise it would matter for the counters who notices a mistake."""
    for kind, (status, _) in PROBLEMS.items():
        if issubclass(kind, ServiceError):
            assert issubclass(kind, Refusal) == (400 <= status < 500), kind


@pytest.mark.parametrize("error", [RuntimeError("secret"), ServiceError("secret"), GenerationFailed("secret")])
def test_a_500_does_not_reveal_its_cause(error: Exception) -> None:
    _, _, body = answer(error)
    assert "secret" not in json.dumps(body)


def test_a_refused_parameter_is_named() -> None:
    _, _, body = answer(InvalidParameters("max_length=1500 is above 1024", field="max_length"))
    assert body["errors"] == [{"field": "max_length", "message": "max_length=1500 is above 1024", "value": None}]


def test_a_refused_field_is_named_and_a_refused_answer_has_none() -> None:
    _, _, body = answer(ContentRejected("text is refused by the rule 'x'", field="text"))
    assert body["errors"] == [{"field": "text", "message": "text is refused by the rule 'x'", "value": None}]
    assert "errors" not in answer(ContentRejected("the answer is refused"))[2]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/api/diffusion/generate", "generated_text"),
        ("/api/diffusion/generate/stream", "generated_text"),
        ("/api/diffusion/infill", "infilled_text"),
        ("/api/diffusion/infill/stream", "infilled_text"),
    ],
)
def test_a_timeout_gives_the_text_so_far(path: str, field: str) -> None:
    _, _, body = answer(GenerationTimeout("too late", partial_text="so f\ud83d"), path)
    assert body["partial"] is True
    assert body[field] == "so f?"
    assert not {"generated_text", "infilled_text"} - {field} & body.keys()


def test_absent_members_are_left_out() -> None:
    _, _, body = answer(MalformedBody("m"))
    assert not {"errors", "partial", "generated_text", "infilled_text"} & body.keys()


def test_a_long_path_is_cut() -> None:
    _, _, body = answer(HTTPException(404), "/" + "a" * 5000)
    assert len(body["instance"]) == 200
