"""An error as data: RFC 9457, plus what clients of this API look for. Every form of errors is made from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, Field

from app.api.wire.json_encoding import JsonResponse

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:reynard-diffusion:error:"


class FieldError(BaseModel):
    """A mistake in one field of the request."""

    field: str = Field(description="Path of the field, such as `stop[1]`; empty where the whole body is meant.")
    message: str = Field(description="Names the field, the value and what is allowed.")
    value: bool | int | float | str | None = Field(None, description="The value, shortened where it is long.")


def renamed(errors: Sequence[FieldError], names: Mapping[str, str]) -> list[FieldError]:
    """Errors in the words of a client that has other names for some fields."""
    return [_renamed(error, names.get(error.field, error.field)) for error in errors]


def _renamed(error: FieldError, name: str) -> FieldError:
    message = error.message
    if message.startswith(error.field):
        message = name + message.removeprefix(error.field)
    return error.model_copy(update={"field": name, "message": message})


class Problem(BaseModel):
    """An error, as `application/problem+json`."""

    type: str = Field(description="URN that ends in `code`.")
    title: str
    status: int
    detail: str
    instance: str = Field("", description="Path of the request.")
    success: bool = False
    code: str = Field(description="Stable name of the error; the thing to branch on.")
    request_id: str = ""
    errors: list[FieldError] | None = None
    partial: bool | None = Field(None, description="True where the text so far is given.")
    generated_text: str | None = None
    infilled_text: str | None = None


class ProblemResponse(JsonResponse):
    """A problem as an HTTP answer."""

    media_type = MEDIA_TYPE

    def __init__(self, problem: Problem, headers: dict[str, str]) -> None:
        super().__init__(problem, status_code=problem.status, headers=headers)

    def render(self, content: Any) -> bytes:
        return super().render({name: value for name, value in content if value is not None})
