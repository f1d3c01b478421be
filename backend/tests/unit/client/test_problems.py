from __future__ import annotations

import json
from email.utils import formatdate
from time import time

import pytest

from app.api.errors.openai_problem import openai_problem
from app.api.errors.table import PROBLEMS, problem_of_code
from reynard_diffusion import (
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
from reynard_diffusion.problems import problem_in_stream, problem_of


def problem(status: int, headers: dict[str, str] | None = None, **told: object) -> DiffusionError:
    return problem_of(status, headers or {}, json.dumps({"status": status, **told}).encode())


def test_an_error_carries_the_fields_of_the_answer() -> None:
    error = problem(
        422,
        detail="top_k=0 is below 1",
        code="invalid_parameters",
        request_id="abc",
        errors=[{"field": "top_k", "message": "top_k=0 is below 1", "value": 0}],
    )
    assert isinstance(error, InvalidRequest)
    assert (error.status, error.code, error.request_id) == (422, "invalid_parameters", "abc")
    assert error.errors == (FieldError("top_k", "top_k=0 is below 1"),)
    assert str(error) == "top_k=0 is below 1 (invalid_parameters, request abc)"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, AccessDenied),
        (403, AccessDenied),
        (404, NotFound),
        (413, InvalidRequest),
        (429, RateLimited),
        (500, ServerFailed),
        (503, Unavailable),
        (504, GenerationTimeout),
    ],
)
def test_kinds(status: int, kind: type[DiffusionError]) -> None:
    assert type(problem(status)) is kind


def test_every_code_of_a_stream_means_the_kind_of_its_status() -> None:
    """A stream has status 200, so only the code distinguishes its errors."""
    for cls, (status, _) in PROBLEMS.items():
        code = str(getattr(cls, "code", ""))
        if cls.__module__.startswith("app.services"):
            under_v1 = openai_problem(problem_of_code(code, "x")).error.code
            for name in (code, under_v1):
                assert type(problem_in_stream("x", code=name)) is type(problem(status, code=name)), name


def test_a_timeout_carries_the_text_so_far() -> None:
    assert problem(504, partial=True, infilled_text="so far").partial_text == "so far"


@pytest.mark.parametrize(
    ("code", "way_out"),
    [
        ("api_key_required", "DIFFUSION_API_KEY"),
        ("invalid_api_key", "DIFFUSION_API_KEY"),
        ("admin_token_required", "DIFFUSION_ADMIN_TOKEN"),
    ],
)
def test_the_message_says_what_to_do(code: str, way_out: str) -> None:
    assert way_out in str(problem(401, detail="send it", code=code))


def test_retry_after_in_seconds_and_as_a_date() -> None:
    error = problem(429, {"retry-after": "7"}, detail="too many calls")
    assert error.retry_after_s == 7.0
    assert str(error) == "too many calls; try again in 7 s"
    dated = problem(503, {"retry-after": formatdate(time() + 100, usegmt=True)}).retry_after_s
    assert dated is not None
    assert 95 < dated <= 100
    assert problem(503, {"retry-after": "soon"}).retry_after_s is None


def test_openai_s_shape_is_read_too() -> None:
    error = problem(400, error={"message": "tools are not supported", "code": "unsupported", "param": "tools"})
    assert (str(error), error.code) == ("tools are not supported (unsupported)", "unsupported")


@pytest.mark.parametrize("body", [b"<html>Bad gateway</html>", b"", b"[1]", b"\xff", b'{"errors": 3}'])
def test_an_answer_of_a_proxy_is_an_error_too(body: bytes) -> None:
    error = problem_of(502, {"x-request-id": "r1"}, body)
    assert isinstance(error, ServerFailed)
    assert str(error) == "the server answered 502 Bad Gateway (request r1)"
    assert str(problem_of(599, {}, body)) == "the server answered 599"
