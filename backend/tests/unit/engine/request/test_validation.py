from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from app.engine.families.registry import family_named
from app.engine.interface.errors import InvalidRequest
from app.engine.interface.params import DecodingParams, GenerationRequest
from app.engine.request.validation import validate
from tests.unit.engine.oracle import EOS, MASK, config_of

FAMILIES = ("llada", "dream", "dreamon")
# Parameter -> the families that know it, and a value that asks for something.
OWNERS: Mapping[str, tuple[tuple[str, ...], Any]] = {
    "cfg_scale": (("llada",), 1.5),
    "confidence_threshold": (("llada", "dreamon"), 0.9),
    "confidence_factor": (("llada", "dreamon"), 1.5),
    "confidence_margin": (("llada", "dreamon"), 0.25),
    "entropy_bound": (("llada", "dreamon"), 0.5),
    "block_length": (("llada",), 4),
    "eos_last": (("llada",), True),
    "eos_never_predicted": (("llada", "dream"), True),
    "alg_temp": (("dream", "dreamon"), 0.5),
    "transfer_counts": (("dream",), (1, 2)),
    "timestep_eps": (("dream",), 0.01),
    "mask_lengths": (("llada", "dream"), (2, 4)),
    "transfers_per_step": (("dreamon",), 2),
    "initial_masks": (("dreamon",), 2),
    "expand_budget": (("dreamon",), 3),
    "pad_delete_to_right": (("dreamon",), True),
}
PLAIN = DecodingParams(max_new_tokens=8)


def check(family: str, params: DecodingParams, prefix: tuple[int, ...] = (), suffix: tuple[int, ...] = ()) -> None:
    validate(GenerationRequest("r", prefix, suffix, params), config_of(family))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_defaults_suit_every_family(family: str) -> None:
    check(family, PLAIN)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", OWNERS)
def test_a_parameter_of_another_family_is_refused_by_name(family: str, name: str) -> None:
    owners, value = OWNERS[name]
    params = replace(PLAIN, **{name: value})
    if family in owners:
        check(family, params)
        return
    with pytest.raises(InvalidRequest, match=f"{name}=.* has no meaning for {family} models") as caught:
        check(family, params)
    assert caught.value.field == name


@pytest.mark.parametrize("name", ["local_threshold", "stability_bound", "revoke_threshold"])
def test_a_refinement_of_a_threshold_needs_one_and_excludes_others(name: str) -> None:
    refined: dict[str, Any] = {name: 0.5}
    check("llada", replace(PLAIN, confidence_threshold=0.9, **refined))
    with pytest.raises(InvalidRequest, match=f"{name} goes with a confidence_threshold"):
        check("llada", replace(PLAIN, confidence_factor=0.9, **refined))
    others: dict[str, Any] = {"local_threshold": 0.5, "stability_bound": 0.5, "revoke_threshold": 0.5}
    with pytest.raises(InvalidRequest, match="exclude each other"):
        check("llada", replace(PLAIN, confidence_threshold=0.9, **others))


@pytest.mark.parametrize("change", [{"cache": "dual"}, {"cfg_scale": 1.0}])
def test_revoking_wants_the_whole_canvas(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="leave cache and cfg_scale out"):
        check("llada", replace(PLAIN, confidence_threshold=0.9, revoke_threshold=0.5, **change))
    with pytest.raises(InvalidRequest, match="has no meaning for dreamon"):
        check("dreamon", replace(PLAIN, confidence_threshold=0.9, revoke_threshold=0.5))


def test_there_is_one_rule_for_what_is_committed_together() -> None:
    with pytest.raises(InvalidRequest, match="confidence_threshold and entropy_bound exclude each other") as caught:
        check("llada", replace(PLAIN, confidence_threshold=0.9, entropy_bound=0.5))
    assert caught.value.field == "entropy_bound"
    with pytest.raises(InvalidRequest, match="algorithm='topk_margin' by something else"):
        check("dreamon", replace(PLAIN, entropy_bound=0.5, algorithm="topk_margin"))
    check("dreamon", replace(PLAIN, entropy_bound=0.5, algorithm="entropy"))


@pytest.mark.parametrize("family", FAMILIES)
def test_caches_belong_to_families(family: str) -> None:
    check(family, replace(PLAIN, cache="dual"))
    if family == "llada":
        check(family, replace(PLAIN, cache="prefix"))
        return
    with pytest.raises(InvalidRequest, match=f"cache='prefix' has no meaning for {family} models; use 'dual'"):
        check(family, replace(PLAIN, cache="prefix"))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("algorithm", ["low_confidence", "random", "origin", "maskgit_plus", "topk_margin", "entropy"])
def test_algorithms_belong_to_families(family: str, algorithm: str) -> None:
    params = replace(PLAIN, algorithm=algorithm)
    if algorithm in family_named(family).algorithms:
        check(family, params)
    else:
        default = family_named(family).algorithms[0]
        with pytest.raises(InvalidRequest, match=f"'{algorithm}' is unknown to {family}.*use {default}"):
            check(family, params)


def test_algorithms_by_family() -> None:
    assert {family: set(family_named(family).algorithms) for family in FAMILIES} == {
        "llada": {"low_confidence", "random"},
        "dream": {"origin", "maskgit_plus", "topk_margin", "entropy"},
        "dreamon": {"maskgit_plus", "topk_margin", "entropy"},
    }


@pytest.mark.parametrize(
    ("family", "name", "value"),
    [
        ("llada", "max_new_tokens", 0),
        ("llada", "max_new_tokens", -1),
        ("llada", "steps", 0),
        ("llada", "block_length", 0),
        ("llada", "top_k", 0),
        ("llada", "temperature", -0.1),
        ("dreamon", "transfers_per_step", 0),
        ("dreamon", "initial_masks", 0),
        ("dreamon", "initial_masks", 9),
    ],
)
def test_bounds_name_the_parameter_and_its_value(family: str, name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest, match=f"{name}={value}") as caught:
        check(family, replace(PLAIN, **{name: value}))
    assert caught.value.field == name


@pytest.mark.parametrize(
    ("family", "name", "value"),
    [
        ("llada", "temperature", math.nan),
        ("llada", "temperature", math.inf),
        ("llada", "seed", -1),
        ("llada", "seed", 2**128),
        ("llada", "repetition_penalty", 0.0),
        ("llada", "repetition_penalty", math.nan),
        ("llada", "frequency_penalty", math.nan),
        ("dreamon", "presence_penalty", math.inf),
        ("llada", "logit_bias", {5: math.nan}),
        ("dream", "logit_bias", {10**6: 1.0}),
        ("dream", "logit_bias", {-1: 1.0}),
        ("llada", "cfg_scale", math.inf),
        ("llada", "mask_lengths", (0, 4)),
        ("llada", "mask_lengths", (-2,)),
        ("llada", "end_of_turn", 10**6),
        ("dream", "transfer_counts", (2, -1)),
        ("dream", "alg_temp", math.nan),
        ("dream", "timestep_eps", math.nan),
        ("dreamon", "expand_budget", -1),
    ],
)
def test_a_request_that_would_break_a_step_is_refused_before_it(family: str, name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest, match=name) as caught:
        check(family, replace(PLAIN, **{name: value}))
    assert caught.value.field == name


@pytest.mark.parametrize("family", FAMILIES)
def test_no_bias_makes_the_mask_more_probable(family: str) -> None:
    with pytest.raises(InvalidRequest, match=f"logit_bias makes token {MASK} more probable, which is the mask"):
        check(family, replace(PLAIN, logit_bias={5: 1.0, MASK: 0.1}))
    check(family, replace(PLAIN, logit_bias={MASK: -100.0, EOS: 100.0}))


@pytest.mark.parametrize("token_id", [-1, config_of("llada").vocab_size])
def test_ids_outside_the_vocabulary_are_refused_on_both_sides(token_id: int) -> None:
    for sides in ({"prefix": (1, token_id)}, {"suffix": (token_id,)}):
        with pytest.raises(InvalidRequest, match=f"token id {token_id} is outside the vocabulary of 24"):
            check("llada", PLAIN, **sides)


def test_the_starting_span_may_be_the_whole_room() -> None:
    check("dreamon", replace(PLAIN, initial_masks=8))


def test_a_rule_that_sets_the_commits_itself_excludes_others() -> None:
    with pytest.raises(InvalidRequest, match="steps and transfers_per_step exclude each other"):
        check("dreamon", replace(PLAIN, steps=4, transfers_per_step=2))
    with pytest.raises(InvalidRequest, match="steps=4, but transfer_counts are for 2"):
        check("dream", replace(PLAIN, steps=4, transfer_counts=(4, 4)))
    check("dream", replace(PLAIN, steps=2, transfer_counts=(4, 4)))


def test_a_check_for_one_checkpoint_is_not_used_for_another() -> None:
    config, wrong = config_of("llada"), replace(PLAIN, alg_temp=0.5)
    validate(GenerationRequest("r", (), (), wrong, checked_for=config), config)
    for other in (None, config_of("llada")):
        with pytest.raises(InvalidRequest, match=r"alg_temp=0\.5"):
            validate(GenerationRequest("r", (), (), wrong, checked_for=other), config)
    with pytest.raises(InvalidRequest, match="outside the vocabulary"):
        validate(GenerationRequest("r", (10**6,), (), PLAIN, checked_for=config), config)
