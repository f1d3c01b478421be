"""Loose values to checked ones: settings and request parameters, with errors that name the first thing wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from app.core.complaints import complaints
from app.core.settings import DiffusionConfig, Settings, update_config
from app.services.diffusion.errors import InvalidParameters
from app.services.diffusion.models import DiffusionGenerationParams, DiffusionInfillingParams

ParamsType = TypeVar("ParamsType", DiffusionGenerationParams, DiffusionInfillingParams)


def service_part(config: DiffusionConfig) -> DiffusionConfig:
    """A configuration without what a subclass adds, such as the server's secrets."""
    return DiffusionConfig(**{name: getattr(config, name) for name in DiffusionConfig.model_fields})


def merged(config: DiffusionConfig, given: DiffusionConfig | Mapping[str, Any] | None) -> DiffusionConfig:
    """The settings that `initialize` is given, over those that the service was made with, without the server's.

    Raises:
        InvalidParameters: a setting is unknown or wrong.
    """
    if given is None:
        return config
    if isinstance(given, DiffusionConfig):
        return service_part(given)
    changes = dict(given.get("diffusion", given))
    for name in Settings.model_fields.keys() - DiffusionConfig.model_fields.keys():
        changes.pop(name, None)  # settings of the server, such as its port
    return changed(config, changes)


def changed(config: DiffusionConfig, changes: Mapping[str, Any]) -> DiffusionConfig:
    """A new configuration; raises InvalidParameters if a name is unknown or a value wrong."""
    try:
        return update_config(config, dict(changes))
    except ValidationError as error:
        raise _as_invalid_parameters(error, changes) from None


def validated(kind: type[ParamsType], values: dict[str, Any]) -> ParamsType:
    """A request from loose parameters; raises InvalidParameters for the first that is wrong."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise _as_invalid_parameters(error, values) from None


def asked(kind: type[ParamsType], given: ParamsType | dict[str, Any], overrides: dict[str, Any]) -> ParamsType:
    """The request with some of its parameters given beside it. An object is validated already: it is copied, so that
    the caller may change it for the next request.

    Raises:
        InvalidParameters: names the first parameter that is wrong.
    """
    if isinstance(given, dict):
        return validated(kind, given | overrides)
    return validated(kind, given.model_dump(exclude_unset=True) | overrides) if overrides else given.model_copy()


def _as_invalid_parameters(error: ValidationError, given: Mapping[str, Any]) -> InvalidParameters:
    """The first thing that is wrong, by name. Long values are cut, so that no message repeats a whole text."""
    first, *_ = complaints(error.errors(include_url=False), given)
    return InvalidParameters(first.message, field=first.path)
