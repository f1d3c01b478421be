"""Which requests a checkpoint can run."""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

from app.engine.decoding.commit import registry as commit_rules
from app.engine.families.registry import algorithms
from app.engine.interface.errors import InvalidRequest
from app.engine.interface.params import Between, DecodingParams, GenerationRequest
from app.engine.models.base import ModelConfig

# Parameters that only some families know, and the value that asks for nothing.
_FAMILIES_OF: dict[str, tuple[frozenset[str], Any]] = {
    "cfg_scale": (frozenset({"llada"}), 0.0),
    "confidence_threshold": (frozenset({"llada", "dreamon"}), None),
    "confidence_factor": (frozenset({"llada", "dreamon"}), None),
    "entropy_bound": (frozenset({"llada", "dreamon"}), None),
    "local_threshold": (frozenset({"llada", "dreamon"}), None),
    "stability_bound": (frozenset({"llada"}), None),
    "revoke_threshold": (frozenset({"llada"}), None),
    "block_length": (frozenset({"llada"}), None),
    "eos_never_predicted": (frozenset({"llada", "dream"}), False),
    "eos_last": (frozenset({"llada"}), False),
    "alg_temp": (frozenset({"dream", "dreamon"}), 0.0),
    "transfer_counts": (frozenset({"dream"}), ()),
    "timestep_eps": (frozenset({"dream"}), 1e-3),
    "mask_lengths": (frozenset({"llada", "dream"}), ()),
    "transfers_per_step": (frozenset({"dreamon"}), 1),
    "initial_masks": (frozenset({"dreamon"}), None),
    "expand_budget": (frozenset({"dreamon"}), None),
    "pad_delete_to_right": (frozenset({"dreamon"}), False),
}


def takes(family: str, name: str) -> bool:
    """Whether a parameter has a meaning for a family."""
    families, _ = _FAMILIES_OF.get(name, (frozenset({family}), None))
    return family in families


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
    """Refuses what this checkpoint cannot do.

    Raises:
        InvalidRequest: names the parameter, the value and what is allowed.
    """
    params = request.params
    _check_bounds(params)
    known = algorithms(config.family)
    if params.algorithm is not None and params.algorithm not in known:
        raise InvalidRequest(
            f"algorithm={params.algorithm!r} is unknown to {config.family} models; use {', '.join(known)}",
            field="algorithm",
        )
    for name, (_, neutral) in _FAMILIES_OF.items():
        value = getattr(params, name)
        if value != neutral and not takes(config.family, name):
            raise InvalidRequest(
                f"{name}={value!r} has no meaning for {config.family} models; leave it out", field=name
            )
    commit_rules.check(params)
    _check_counts(params)
    if params.cache == "prefix" and config.family != "llada":
        raise InvalidRequest(f"cache='prefix' has no meaning for {config.family} models; use 'dual'", field="cache")
    for token_id in (*request.prefix, *request.suffix):
        _check_id(token_id, config, "token id")
    if params.end_of_turn is not None:
        _check_id(params.end_of_turn, config, "end_of_turn", field="end_of_turn")


def _check_counts(params: DecodingParams) -> None:
    if params.steps is None:
        return
    if params.transfers_per_step > 1:
        raise InvalidRequest("steps and transfers_per_step exclude each other; leave one out", field="steps")
    if params.transfer_counts and len(params.transfer_counts) != params.steps:
        raise InvalidRequest(
            f"steps={params.steps}, but transfer_counts are for {len(params.transfer_counts)}; leave steps out",
            field="steps",
        )


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
    if params.initial_masks is not None and params.initial_masks > params.max_new_tokens:
        raise InvalidRequest(
            f"initial_masks={params.initial_masks} is above max_new_tokens={params.max_new_tokens}",
            field="initial_masks",
        )
