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


class ServiceFieldError(FieldError):
    """A mistake in a field by the service's name of it, for which a client may have another."""


def renamed(errors: Sequence[FieldError], names: Mapping[str, str]) -> list[FieldError]:
    """Errors in the words of a client that has other names for some of the service's fields. What is named as the
    client named it stays: a field that it should not have sent may have the service's name of another one."""
    return [_renamed(error, names) if isinstance(error, ServiceFieldError) else error for error in errors]


def _renamed(error: ServiceFieldError, names: Mapping[str, str]) -> FieldError:
    name, message = names.get(error.field), error.message
    if name is None:
        return error
    if message.startswith(error.field):
        message = name + message.removeprefix(error.field)
    return FieldError(field=name, message=message, value=error.value)


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
