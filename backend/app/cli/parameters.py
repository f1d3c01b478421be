"""Options for everything that a request may ask for, made from the rows of its parameters."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Literal, get_args, get_origin

import click

from app.cli.types import BIASED_TOKEN, TEXT, FiniteRange
from app.core.parameters import PARAMETERS, TYPES
from app.services.diffusion.models import Sampling

NO_OPTIONS = ("stream", "stream_mode", "constraint")
"""The output decides the first two, and options of its own the last."""
SEVERAL = ("stop", "logit_bias")
FIRST = ("model_id", "max_length")


def parameter_options(request: type[Sampling]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds options to a command, which gets those that were given as `parameters`."""
    names = sorted(request.model_fields.keys() - set(NO_OPTIONS), key=lambda name: (name not in FIRST, name))

    def extend(command: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(command)
        def with_parameters(*args: Any, **options: Any) -> Any:
            values = {name: options.pop(name) for name in names}
            given = {name: _plain(name, value) for name, value in values.items() if value not in (None, ())}
            return command(*args, parameters=given, **options)

        extended: Callable[..., Any] = with_parameters
        for name in reversed(names):
            extended = _option(name)(extended)
        return extended

    return extend


def _plain(name: str, value: Any) -> Any:
    if name == "logit_bias":
        return dict(value)
    return list(value) if isinstance(value, tuple) else value


def _option(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    flag = "--model" if name == "model_id" else f"--{name.replace('_', '-')}"
    description = PARAMETERS[name].description
    return click.option(flag, name, type=_type(name), multiple=name in SEVERAL, help=description, show_default=False)


def _type(name: str) -> click.ParamType[Any]:
    kind, row = TYPES[name], PARAMETERS[name]
    if get_origin(kind) is Literal:
        return click.Choice(get_args(kind))
    if name == "logit_bias":
        return BIASED_TOKEN
    if kind is bool:
        return click.BOOL
    if kind is int:
        return click.IntRange(int(row.least), int(row.greatest))
    if kind is float:
        return FiniteRange(row.least, row.greatest, min_open=row.gt is not None)
    return TEXT
