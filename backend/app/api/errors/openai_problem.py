"""Problems as clients of OpenAI's API, and of llama.cpp's, read them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from app.api.errors.form import ErrorForm
from app.api.errors.problem import Problem, renamed
from app.api.wire.json_encoding import JsonResponse

MEDIA_TYPE = "application/json"

ErrorType = Literal["invalid_request_error", "authentication_error", "rate_limit_error", "server_error"]

_TYPES: dict[int, ErrorType] = {401: "authentication_error", 429: "rate_limit_error"}
_CODES = {
    "unknown_model": "model_not_found",
    "api_key_required": "invalid_api_key",
    "rate_limited": "rate_limit_exceeded",
    "content_rejected": "content_filter",
}
"""Our codes, with OpenAI's name for each where clients know one; all other codes are our own."""
_NAMES = {
    "model_id": "model",
    "max_length": "max_tokens",
    "text": "prompt",
    "prefix": "prompt",
    "token_ids": "prompt",
    "state": "input",
}
"""The service's names of parameters, with the names that these clients use."""


class OpenAIError(BaseModel):
    """The error itself."""

    message: str
    type: ErrorType
    param: str | None = Field(description="Path of the field at fault, where there is one.")
    code: str = Field(description="Stable name of the error; the thing to branch on.")


class OpenAIProblem(BaseModel):
    """An error as OpenAI's clients read it."""

    error: OpenAIError


def openai_problem(problem: Problem) -> OpenAIProblem:
    """The problem in OpenAI's words."""
    param, message = None, problem.detail
    if problem.errors:
        errors = renamed(problem.errors, _NAMES)
        param = errors[0].field or None
        message = "; ".join(error.message for error in errors)
    kind = _TYPES.get(problem.status, "invalid_request_error" if problem.status < 500 else "server_error")
    code = _CODES.get(problem.code, problem.code)
    return OpenAIProblem(error=OpenAIError(message=message, type=kind, param=param, code=code))


class OpenAIProblemResponse(JsonResponse):
    """A problem as an HTTP answer. What is wrong with a request's values is a 400 to these clients."""

    def __init__(self, problem: Problem, headers: dict[str, str]) -> None:
        status = 400 if problem.status in (415, 422) else problem.status
        super().__init__(openai_problem(problem), status_code=status, headers=headers)


OPENAI_FORM = ErrorForm(OpenAIProblem, MEDIA_TYPE, OpenAIProblemResponse)
