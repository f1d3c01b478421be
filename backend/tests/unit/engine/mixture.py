"""Requests of every kind a checkpoint can run, for tests that put them into one batch."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from app.engine.families.registry import family_named
from app.engine.interface.params import DecodingParams, GenerationRequest
from app.engine.models.base import ModelConfig

_LEAPING = {"confidence_threshold": 0.3, "local_threshold": 0.1}
_STABLE = {"confidence_threshold": 0.1, "stability_bound": 0.5}
_REVOCABLE = {"confidence_threshold": 0.1, "revoke_threshold": 0.3}
_COMMITS: tuple[dict[str, Any], ...] = (
    {"confidence_threshold": 0.3},
    {"confidence_factor": 1.5},
    {"confidence_margin": 0.1},
    _LEAPING,
)

_LLADA_COMMITS: tuple[dict[str, Any], ...] = (
    {},
    {"algorithm": "random", "cfg_scale": 1.5},
    *(
        {**commits, "cfg_scale": scale}
        for commits in (*_COMMITS, _STABLE, {"entropy_bound": 1.0})
        for scale in (0.0, 1.5)
    ),
    _REVOCABLE,
    _REVOCABLE,
)


def mixed_requests(config: ModelConfig, seed: int, count: int, *, caches: bool = True) -> list[GenerationRequest]:
    """Different kinds, lengths, temperatures, seeds, filters, guidance, penalties, biases and, if wanted, caches."""
    rng = random.Random(seed)
    requests = [_request(config, rng, f"request {number}") for number in range(count)]
    requests = [_with_cache(request, config, rng) for request in requests] if caches else requests
    rng = random.Random(seed)
    return [replace(request, params=_adjusted(request.params, rng)) for request in requests]


def _adjusted(params: DecodingParams, rng: random.Random) -> DecodingParams:
    return replace(
        params,
        min_p=rng.choice([0.0, 0.1]),
        frequency_penalty=rng.choice([0.0, 0.5]),
        presence_penalty=rng.choice([0.0, 0.0, -0.3]),
        logit_bias=rng.choice([None, None, {7: -100.0, 9: 4.0}]),
        no_repeat_ngram_size=rng.choice([0, 0, 2]),
    )


def _with_cache(request: GenerationRequest, config: ModelConfig, rng: random.Random) -> GenerationRequest:
    caches = [*family_named(config.family).caches]
    if request.params.revoke_threshold is not None or len(caches) == 1:
        return request
    cache = rng.choice(caches)
    return replace(request, params=replace(request.params, cache=cache, cache_refresh=rng.choice([None, 2])))


def _request(config: ModelConfig, rng: random.Random, request_id: str) -> GenerationRequest:
    is_gap = rng.random() < 0.5 and family_named(config.family).infills
    return GenerationRequest(
        request_id,
        prefix=_text(config, rng, at_least=1),
        suffix=_text(config, rng, at_least=0) if is_gap else (),
        params=DecodingParams(**{**_shared(rng), **_OWN[config.family](config, rng)}),
        open_ended=not is_gap,
        snapshots=rng.random() < 0.5,
    )


def _text(config: ModelConfig, rng: random.Random, at_least: int) -> tuple[int, ...]:
    special = config.special
    roles = {special.mask, special.eos, special.pad, special.bos, special.expand}
    words = [token_id for token_id in range(config.vocab_size) if token_id not in roles]
    return tuple(rng.choices(words, k=rng.randint(at_least, 12)))


def _shared(rng: random.Random) -> dict[str, Any]:
    return {
        "max_new_tokens": rng.randint(1, 9),
        "temperature": rng.choice([0.0, 0.0, 0.5, 1.0]),
        "top_p": rng.choice([None, 0.8]),
        "top_k": rng.choice([None, 20]),
        "repetition_penalty": rng.choice([1.0, 1.2]),
        "seed": rng.randrange(2**63),
        "steps": rng.choice([None, None, 4]),
    }


def _llada(config: ModelConfig, rng: random.Random) -> dict[str, Any]:
    return {
        **rng.choice(_LLADA_COMMITS),
        "block_length": rng.choice([None, 4]),
        "mask_lengths": rng.choice([(), (2, 4, 6)]),
        "eos_never_predicted": rng.random() < 0.3,
        "eos_last": rng.random() < 0.3,
    }


def _dream(config: ModelConfig, rng: random.Random) -> dict[str, Any]:
    return {
        "algorithm": rng.choice([None, "origin", "maskgit_plus", "topk_margin"]),
        "alg_temp": rng.choice([0.0, 0.5]),
        "mask_lengths": rng.choice([(), (2, 4, 6)]),
        "eos_never_predicted": rng.random() < 0.3,
    }


def _dreamon(config: ModelConfig, rng: random.Random) -> dict[str, Any]:
    return {
        "algorithm": rng.choice([None, "maskgit_plus", "topk_margin"]),
        **rng.choice([{}, {}, *_COMMITS]),
        "alg_temp": rng.choice([0.0, 0.5]),
        "expand_budget": rng.choice([None, 2]),
        "pad_delete_to_right": rng.random() < 0.3,
    }


def _of_blocks(config: ModelConfig, rng: random.Random) -> dict[str, Any]:
    return {
        **rng.choice([{}, {}, *_COMMITS, {"entropy_bound": 1.0}, _STABLE, {"steps_per_block": 2, "steps": None}]),
        "block_length": rng.choice([None, None, 1, 5]),
        "eos_never_predicted": rng.random() < 0.3,
    }


def _in_sub_blocks(config: ModelConfig, rng: random.Random) -> dict[str, Any]:
    return {**_of_blocks(config, rng), "sub_block_length": rng.choice([None, 3])}


_OWN = {
    "llada": _llada,
    "dream": _dream,
    "dreamon": _dreamon,
    "sdar": _of_blocks,
    "stable_diffcoder": _of_blocks,
    "fast_dllm_v2": _in_sub_blocks,
}
