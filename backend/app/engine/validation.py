"""Which requests a checkpoint can run."""

from __future__ import annotations

from typing import Any

from app.engine.decoding.policy import algorithms
from app.engine.errors import InvalidRequest
from app.engine.models.base import ModelConfig
from app.engine.params import DecodingParams, GenerationRequest

# Parameters that only some families know, and the value that asks for nothing.
_FAMILIES_OF: dict[str, tuple[frozenset[str], Any]] = {
    "cfg_scale": (frozenset({"llada"}), 0.0),
    "confidence_threshold": (frozenset({"llada"}), None),
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
    for name, (families, neutral) in _FAMILIES_OF.items():
        value = getattr(params, name)
        if value != neutral and config.family not in families:
            raise InvalidRequest(
                f"{name}={value!r} has no meaning for {config.family} models; leave it out", field=name
            )
    for token_id in (*request.prefix, *request.suffix):
        if not 0 <= token_id < config.vocab_size:
            raise InvalidRequest(f"token id {token_id} is outside the vocabulary of {config.vocab_size}")


def _check_bounds(params: DecodingParams) -> None:
    for name in ("max_new_tokens", "steps", "block_length", "transfers_per_step", "initial_masks", "top_k"):
        value = getattr(params, name)
        if value is not None and value < 1:
            raise InvalidRequest(f"{name}={value} must be at least 1", field=name)
    if params.temperature < 0:
        raise InvalidRequest(f"temperature={params.temperature} must not be negative", field="temperature")
    if params.initial_masks is not None and params.initial_masks > params.max_new_tokens:
        raise InvalidRequest(
            f"initial_masks={params.initial_masks} is above max_new_tokens={params.max_new_tokens}",
            field="initial_masks",
        )
