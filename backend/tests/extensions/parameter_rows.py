"""Compares the rows of the parameters with the classes that static types want written out beside them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_origin, get_type_hints

from pydantic import BaseModel

from app.core.parameters import ENGINE_NAMES, PARAMETERS, TYPES, ConstraintBody, field_of
from app.core.settings import DiffusionConfig
from app.engine.interface.params import DecodingParams
from app.engine.request.validation import bounds_of
from app.services.diffusion.constraint import Constraint
from app.services.diffusion.models import Request

WITHOUT_ROW = {"stream"}
"""Accepted for compatibility, and asks for nothing."""

CHECKED = {ConstraintBody: Constraint}
"""The class that checks an object, by the type that a client writes."""


def disagreements(
    request: type[BaseModel] = Request,
    params: type[DecodingParams] = DecodingParams,
    config: type[BaseModel] = DiffusionConfig,
) -> list[str]:
    """One line for each row that a class has not, or has otherwise: the row, the class, and what differs."""
    return [*_in_the_request(request), *_in_the_engine(params), *_in_the_settings(config)]


def _in_the_request(request: type[BaseModel]) -> Iterator[str]:
    types = get_type_hints(request)
    for name in PARAMETERS:
        if name not in request.model_fields:
            yield f"{name}: {request.__name__} has no such field"
        elif types[name] not in ((kind := CHECKED.get(TYPES[name], TYPES[name])), kind | None):
            yield f"{name}: {request.__name__} says {types[name]}, the row {TYPES[name]}"
        elif _said(request, name) != _expected(name):
            yield f"{name}: {request.__name__} has other bounds or another description than the row"
    for name in request.model_fields.keys() - PARAMETERS.keys() - WITHOUT_ROW:
        yield f"{name}: {request.__name__} has it, and it has no row"


def _in_the_engine(params: type[DecodingParams]) -> Iterator[str]:
    types, bounds = get_type_hints(params), bounds_of(params)
    for name, engine_name in ENGINE_NAMES.items():
        row = PARAMETERS[name]
        if engine_name not in types:
            yield f"{name}: {params.__name__} has no field {engine_name}"
        elif types[engine_name] not in (_in_engine(TYPES[name]), TYPES[name] | None):
            yield f"{name}: {params.__name__} says {types[engine_name]}, the row {TYPES[name]}"
        elif (
            row.le is not None and not bounds[engine_name].least <= row.least <= row.le <= bounds[engine_name].greatest
        ):
            yield f"{name}: {params.__name__} refuses some of what the row allows"


def _in_the_settings(config: type[BaseModel]) -> Iterator[str]:
    types = get_type_hints(config)
    for name, row in PARAMETERS.items():
        if row.default is None:
            continue
        if name not in config.model_fields:
            yield f"{name}: {config.__name__} has no such field, and the row a default"
        elif (types[name], config.model_fields[name].default) != (TYPES[name], row.default):
            yield f"{name}: {config.__name__} has another type or another default than the row"
        elif _said(config, name)[0] != _expected(name)[0]:
            yield f"{name}: {config.__name__} has other bounds than the row"


def _in_engine(row_type: Any) -> Any:
    """The engine looks names up in its registries, to which others may be added: there they are any strings."""
    return str if get_origin(row_type) is Literal else row_type


def _said(model: type[BaseModel], name: str) -> tuple[list[Any], str | None]:
    field = model.model_fields[name]
    return field.metadata, field.description


def _expected(name: str) -> tuple[list[Any], str | None]:
    field = field_of(name)
    return field.metadata, field.description
