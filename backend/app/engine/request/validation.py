"""The check of a request against the checkpoint that is to run it."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, get_args, get_type_hints

from app.engine.decoding.commit import registry as commit_rules
from app.engine.families.base import Family
from app.engine.families.registry import family_named
from app.engine.interface.errors import InvalidRequest
from app.engine.interface.params import MAX_BIAS, Between, DecodingParams, GenerationRequest, asks_for
from app.engine.models.base import ModelConfig


def _bounds(hint: Any) -> Between | None:
    """The bounds in the type of a number, of one that may be `None`, or of each number in a tuple."""
    for part in get_args(hint):
        found = part if isinstance(part, Between) else _bounds(part)
        if found is not None:
            return found
    return None


def bounds_of(params: type[DecodingParams]) -> dict[str, Between]:
    """The bounds of each parameter that is a number, or several."""
    hints = get_type_hints(params, include_extras=True)
    return {name: bounds for name, hint in hints.items() if (bounds := _bounds(hint)) is not None}


_BOUNDS = bounds_of(DecodingParams)


def validate(request: GenerationRequest, config: ModelConfig) -> None:
    """Refuses what this checkpoint cannot do. Parameters that are checked for it already are not checked again.

    Raises:
        InvalidRequest: names the parameter, the value and what is allowed.
    """
    if request.checked_for is not config:
        validate_params(request.params, config)
    family = family_named(config.family)
    if request.suffix and not family.infills:
        raise InvalidRequest(f"{family.name} models see no text behind a gap; leave the suffix out", field="suffix")
    for token_id in (*request.prefix, *request.suffix):
        _check_id(token_id, config, "token id")


def validate_params(params: DecodingParams, config: ModelConfig) -> None:
    """Refuses parameters that this checkpoint cannot decode by. Raises as `validate` does."""
    _check_bounds(params)
    family = family_named(config.family)
    _check_family(params, family)
    family.resolve(params, config)  # refuses what does not go with the checkpoint's own numbers
    for token_id, bias in (params.logit_bias or {}).items():
        _check_bias(token_id, bias, config)
    if params.end_of_turn is not None:
        _check_id(params.end_of_turn, config, "end_of_turn", field="end_of_turn")


def _check_family(params: DecodingParams, family: Family) -> None:
    if params.algorithm is not None and params.algorithm not in family.algorithms:
        raise InvalidRequest(
            f"algorithm={params.algorithm!r} is unknown to {family.name} models; use {', '.join(family.algorithms)}",
            field="algorithm",
        )
    for name in (field.name for field in fields(params)):
        if asks_for(params, name) and not family.takes(name):
            raise _meaningless(name, params, family, "leave it out")
    commit_rules.check(params)
    family.sampler.check(params)
    if params.cache not in family.caches:
        others = " or ".join(repr(name) for name in family.caches if name != "none")
        raise _meaningless("cache", params, family, f"use {others}" if others else "leave it out")


def _meaningless(name: str, params: DecodingParams, family: Family, way_out: str) -> InvalidRequest:
    value = getattr(params, name)
    return InvalidRequest(f"{name}={value!r} has no meaning for {family.name} models; {way_out}", field=name)


def _check_bias(token_id: int, bias: float, config: ModelConfig) -> None:
    special = config.special
    _check_id(token_id, config, "logit_bias has token", field="logit_bias")
    if not abs(bias) <= MAX_BIAS:
        message = f"logit_bias of token {token_id} is {bias}; at most {MAX_BIAS:g} either way are possible"
        raise InvalidRequest(message, field="logit_bias")
    if bias > 0 and (token_id == special.mask or token_id in special.unusable):
        what = "the mask" if token_id == special.mask else "an id without a token"
        message = f"logit_bias makes token {token_id} more probable, which is {what} and no text; leave it out"
        raise InvalidRequest(message, field="logit_bias")


def _check_id(token_id: int, config: ModelConfig, what: str, field: str = "") -> None:
    if not 0 <= token_id < config.vocab_size:
        raise InvalidRequest(f"{what} {token_id} is outside the vocabulary of {config.vocab_size}", field=field)


def _check_bounds(params: DecodingParams) -> None:
    for name, bounds in _BOUNDS.items():
        value = getattr(params, name)
        values = value if isinstance(value, tuple) else (value,)
        # Written so that NaN, which is neither above nor below anything, is refused.
        if any(not bounds.least <= each <= bounds.greatest for each in values if each is not None):
            raise InvalidRequest(f"{name}={value} is outside {bounds.least} to {bounds.greatest}", field=name)
