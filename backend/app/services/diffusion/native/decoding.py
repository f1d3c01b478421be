"""A request in the engine's words: what the family and the preset fill in, and what contradicts itself."""

from __future__ import annotations

from dataclasses import replace

from app.core.parameters import ENGINE_NAMES
from app.engine.decoding.commit.registry import rules_on
from app.engine.interface.params import DecodingParams
from app.services.diffusion.errors import InvalidParameters
from app.services.diffusion.families.base import Preset, TextFamily
from app.services.diffusion.models import (
    DiffusionInfillingParams,
    Operation,
    Params,
    Request,
)

_WITHOUT_CONFIDENCE = ("random", "sequential")
"""Algorithms that choose positions by chance, or from left to right."""


def decoding_params(family: TextFamily, params: Params, *, end_of_turn: int | None = None) -> DecodingParams:
    """The request in the engine's words. Every parameter is handed on, so that the engine can refuse what the family
    does not know.

    Raises:
        InvalidParameters: the starting canvas is longer than the answer may be.
    """
    infills = isinstance(params, DiffusionInfillingParams)
    max_length = params.max_length or 1
    preset = family.preset(params.decoding)
    return replace(
        _as_asked(params),
        top_p=None if params.top_p == 1.0 else params.top_p,
        block_length=params.block_length or (None if infills else preset.block_length or family.block_length),
        confidence_threshold=_threshold(params, preset),
        eos_never_predicted=not family.changes_length and (_has_text_behind(params) or bool(params.ignore_eos)),
        end_of_turn=None if params.ignore_eos else end_of_turn,
        cache=params.cache or _cache(params, preset),
        cache_refresh=params.cache_refresh or preset.cache_refresh,
        initial_masks=_initial_masks(family, params, max_length),
        mask_lengths=candidate_lengths(max_length) if infills and not family.changes_length else (),
    )


def _as_asked(params: Request) -> DecodingParams:
    """The parameters of a request, by the engine's names; nothing is filled in yet."""
    asked = {engine_name: getattr(params, name) for name, engine_name in ENGINE_NAMES.items()}
    given = {engine_name: value for engine_name, value in asked.items() if value is not None}
    return DecodingParams(**{"max_new_tokens": 1, **given})


def _threshold(params: Request, preset: Preset) -> float | None:
    """A preset's gives way to any other rule of the request's own."""
    if params.confidence_threshold is not None:
        return params.confidence_threshold
    has_own_rule = any(rule.REFINES is None for rule in rules_on(params))
    has_own_rule |= params.steps is not None or params.steps_per_block is not None
    has_own_rule |= params.algorithm in _WITHOUT_CONFIDENCE
    return None if has_own_rule else preset.confidence_threshold


def _cache(params: Request, preset: Preset) -> str:
    """A preset's gives way to a rule that excludes it."""
    is_excluded = any("cache" in rule.EXCLUDES for rule in rules_on(params))
    return "none" if is_excluded else preset.cache


def check_combination(params: Request, decoding: DecodingParams) -> None:
    """Refuses what one field of a request would make another one do nothing. What comes from a preset or is a default
    gives way instead, so the engine is not asked.

    Args:
        decoding: what the request became.

    Raises:
        InvalidParameters: names both fields.
    """
    if params.cache_refresh is not None and decoding.cache == "none":
        raise InvalidParameters(
            f"cache_refresh={params.cache_refresh} refreshes a cache, and there is none; give a cache, or leave it out",
            field="cache_refresh",
        )
    if params.algorithm == "random" and (on := rules_on(decoding)):
        rule = on[0].PARAMETER
        raise InvalidParameters(
            f"{rule} goes by how sure the model is, and algorithm='random' by chance; leave one out", field=rule
        )
    if params.algorithm == "origin" and params.alg_temp:
        raise InvalidParameters(
            f"alg_temp={params.alg_temp:g} weighs scores, and algorithm='origin' has none; leave one out",
            field="alg_temp",
        )
    near, threshold = params.local_threshold, params.confidence_threshold
    if near is not None and threshold is not None and near >= threshold:
        raise InvalidParameters(
            f"local_threshold={near:g} does nothing beside confidence_threshold={threshold:g}; it has to be below",
            field="local_threshold",
        )


def _has_text_behind(params: Params) -> bool:
    return isinstance(params, DiffusionInfillingParams) and bool(params.suffix)


def candidate_lengths(max_length: int) -> tuple[int, ...]:
    """The spans that a family of fixed length tries for a gap: the powers of two and their 1.5-fold below `max_length`,
    then `max_length` itself. So the true length is missed by a quarter of it at most.
    """
    powers = [2**exponent for exponent in range(max_length.bit_length())]
    candidates = {*powers, *(3 * power // 2 for power in powers if power > 1)}
    return (*sorted(length for length in candidates if length < max_length), max_length)


def _initial_masks(family: TextFamily, params: Params, max_length: int) -> int | None:
    if params.initial_masks is not None and params.initial_masks > max_length:
        raise InvalidParameters(
            f"initial_masks={params.initial_masks} is above max_length={max_length}; the canvas starts no longer than "
            "the answer may become",
            field="initial_masks",
        )
    if params.initial_masks is not None or family.starting_masks is None:
        return params.initial_masks
    operation: Operation = "infill" if isinstance(params, DiffusionInfillingParams) else "generate"
    return min(family.starting_masks[operation], max_length)
