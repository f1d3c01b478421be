"""Errors as clients of `/v1/systemone` read them."""

from __future__ import annotations

from pydantic import BaseModel, Field

from app.api.errors.form import ErrorForm
from app.api.errors.problem import Problem, renamed
from app.api.wire.json_encoding import JsonResponse

_NAMES = {"model_id": "model"}


class SystemOneErrorDetail(BaseModel):
    """The error itself."""

    error_type: str = Field(description="Stable name of the error; the thing to branch on.")
    message: str


class SystemOneError(BaseModel):
    """An error as clients of System One read it."""

    detail: SystemOneErrorDetail


class SystemOneErrorResponse(JsonResponse):
    """A problem as an HTTP answer."""

    def __init__(self, problem: Problem, headers: dict[str, str]) -> None:
        errors = renamed(problem.errors or (), _NAMES)
        message = "; ".join(error.message for error in errors) or problem.detail
        body = SystemOneError(detail=SystemOneErrorDetail(error_type=problem.code, message=message))
        super().__init__(body, status_code=problem.status, headers=headers)


SYSTEM_ONE_FORM = ErrorForm(SystemOneError, "application/json", SystemOneErrorResponse)
