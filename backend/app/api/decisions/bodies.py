"""The bodies of these calls: a field that is not known is refused as such, and nothing is passed over."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from app.api.bodies.body import object_for
from app.api.errors.table import InvalidBody, UnknownField
from app.services.diffusion.decisions import DiffusionDecisionParams

M = TypeVar("M", bound=BaseModel)


def strict_body_of(choose: Callable[[dict[str, Any]], type[M]], known: type[BaseModel]) -> Callable[..., Awaitable[M]]:
    """A dependency that reads the body as the model that `choose` finds for it.

    Args:
        known: a model whose fields are kept, however many unknown ones there are.
    """
    read_object = object_for(known)

    async def read(request: Request) -> M:
        content = await read_object(request)
        return validated(choose(content), content)

    return read


def validated(model: type[M], content: dict[str, Any]) -> M:
    """The body as `model`.

    Raises:
        UnknownField: it has a field that is not known.
        InvalidBody: a value is wrong.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        unknown = [each for each in error.errors(include_url=False) if each["type"] == "extra_forbidden"]
        raise (UnknownField.of_errors(unknown, content) if unknown else InvalidBody.of(error, content)) from None


def decision_params(values: dict[str, Any], names: Mapping[str, str]) -> DiffusionDecisionParams:
    """The request to the service.

    Args:
        names: what the client calls fields that have another name there.

    Raises:
        InvalidBody: a value is wrong.
    """
    try:
        return DiffusionDecisionParams.model_validate(values)
    except ValidationError as error:
        raise InvalidBody.of(error, values, names) from None
