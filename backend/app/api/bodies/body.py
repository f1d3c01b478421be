"""Request bodies: JSON, declared as JSON, read strictly into the service's own models."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Awaitable, Callable, Container
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from app.api.bodies.unsupported import without_nothing
from app.api.errors.given import note_given
from app.api.errors.problem import FieldError
from app.api.errors.table import InvalidBody, MalformedBody, UnsupportedMediaType
from app.core.complaints import MAX_COMPLAINTS

M = TypeVar("M", bound=BaseModel)


def body_of(model: type[M], *, is_declared: bool = True) -> Callable[[Request], Awaitable[M]]:
    """A dependency that reads the body as `model`; `is_declared` as in `object_for`."""
    read_object = object_for(model, is_declared=is_declared)

    async def read(request: Request) -> M:
        content = without_nothing(await read_object(request), model.model_fields)
        try:
            return model.model_validate(content)
        except ValidationError as error:
            raise InvalidBody.of(error, content) from None

    return read


def object_for(model: type[BaseModel], *, is_declared: bool = True) -> Callable[[Request], Awaitable[dict[str, Any]]]:
    """A dependency that reads the body as an object, to be validated against `model` later.

    Args:
        is_declared: whether every client has to declare it as JSON. Where it is not, browsers have to: a page of a
            stranger can have them send anything else without being asked.
    """

    async def read(request: Request) -> dict[str, Any]:
        body = (await request.body()).removeprefix(BOM_UTF8)
        if not body:
            raise MalformedBody("the body is empty; send a JSON object")
        if is_declared or "origin" in request.headers:
            _check_declaration(request)
        _check_encoding(request)
        content = _parse(body)
        if not isinstance(content, dict):
            raise InvalidBody([FieldError(field="", message="the body must be a JSON object")])
        note_given(request.scope, content)
        return _few_unknown(content, known=model.model_fields)

    return read


def _parse(body: bytes) -> Any:
    """The parsed body. Pydantic's parser bounds its depth and refuses invalid UTF-8, half surrogate pairs and endless
    numbers."""
    try:
        return from_json(body)
    except ValueError as error:
        raise MalformedBody(f"the body is not valid JSON: {error}") from None


def _check_declaration(request: Request) -> None:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    family, _, kind = media_type.partition("/")
    if family != "application" or not (kind == "json" or kind.endswith("+json")):
        raise UnsupportedMediaType("send the body as 'Content-Type: application/json'")


def _check_encoding(request: Request) -> None:
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("send the body without a content encoding")


def _few_unknown(content: dict[str, Any], known: Container[str]) -> dict[str, Any]:
    """The content with the first unknown fields only: a hundred thousand complaints would hold up everybody else."""
    unknown = [name for name in content if name not in known]
    for name in unknown[MAX_COMPLAINTS:]:
        del content[name]
    return content
