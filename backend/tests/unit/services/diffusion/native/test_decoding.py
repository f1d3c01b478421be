from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.interface.params import GenerationRequest
from app.engine.request.validation import validate
from app.services.diffusion.errors import InvalidParameters
from app.services.diffusion.families.dream import DREAM
from app.services.diffusion.families.dreamon import DREAMON
from app.services.diffusion.families.llada import LLADA
from app.services.diffusion.families.registry import text_family
from app.services.diffusion.models import (
    DiffusionGenerationParams,
    DiffusionInfillingParams,
)
from app.services.diffusion.native.decoding import candidate_lengths, check_combination, decoding_params
from tests.unit.engine.oracle import config_of

VECTORS = Path(__file__).parents[4] / "conformance" / "vectors"


def generating(**given: Any) -> DiffusionGenerationParams:
    return DiffusionGenerationParams(**{"text": "x", "max_length": 100, **given})


def infilling(**given: Any) -> DiffusionInfillingParams:
    return DiffusionInfillingParams(**{"prefix": "x", "max_length": 100, **given})


def test_parameters_are_handed_on() -> None:
    given = generating(
        temperature=0.5, top_p=0.9, top_k=5, min_p=0.1, repetition_penalty=1.1, seed=9, steps=7, cfg_scale=1.5
    )
    decoding = decoding_params(LLADA, given, end_of_turn=3)
    assert (decoding.max_new_tokens, decoding.temperature, decoding.top_p, decoding.top_k) == (100, 0.5, 0.9, 5)
    assert decoding.min_p == 0.1
    assert (decoding.repetition_penalty, decoding.seed, decoding.steps) == (1.1, 9, 7)
    assert (decoding.cfg_scale, decoding.end_of_turn) == (1.5, 3)


def test_top_p_of_one_is_no_filter() -> None:
    assert decoding_params(LLADA, generating(top_p=1.0)).top_p is None


def test_llada_continues_in_blocks_and_infills_in_one() -> None:
    assert decoding_params(LLADA, generating()).block_length == 32
    assert decoding_params(LLADA, generating(block_length=8)).block_length == 8
    assert decoding_params(LLADA, infilling()).block_length is None
    assert decoding_params(DREAM, generating()).block_length is None


@pytest.mark.parametrize("family", ["llada", "dream"])
def test_families_of_fixed_length_choose_the_span_of_an_infilling(family: str) -> None:
    assert decoding_params(text_family(family), infilling(max_length=20)).mask_lengths == (1, 2, 3, 4, 6, 8, 12, 16, 20)
    assert decoding_params(text_family(family), generating()).mask_lengths == ()


@pytest.mark.parametrize("family", ["llada", "dream", "dreamon"])
def test_a_preset_fills_what_the_request_leaves_open(family: str) -> None:
    exact, fast = (decoding_params(text_family(family), generating(decoding=name)) for name in ("exact", "fast"))
    assert decoding_params(text_family(family), generating()) == exact
    assert (exact.cache, exact.cache_refresh) == ("none", None)
    assert fast.cache == "dual"
    own = decoding_params(text_family(family), generating(decoding="fast", cache="none", cache_refresh=3))
    assert (own.cache, own.cache_refresh) == ("none", 3)


def test_a_preset_of_llada_has_its_own_blocks() -> None:
    assert decoding_params(LLADA, generating(decoding="fast")).block_length == 8
    assert decoding_params(LLADA, generating(decoding="fast", block_length=64)).block_length == 64
    assert decoding_params(LLADA, infilling(decoding="fast")).block_length is None


@pytest.mark.parametrize(
    "own",
    [
        {"confidence_factor": 1.0},
        {"confidence_margin": 0.0},
        {"entropy_bound": 1.0},
        {"steps": 8},
        {"algorithm": "random"},
    ],
)
def test_the_threshold_of_a_preset_gives_way_to_a_rule_of_the_request(own: dict[str, Any]) -> None:
    assert decoding_params(LLADA, generating(decoding="fast")).confidence_threshold == 0.9
    assert decoding_params(LLADA, generating(decoding="fast", **own)).confidence_threshold is None


@pytest.mark.parametrize("family", ["llada", "dream", "dreamon"])
@pytest.mark.parametrize("preset", ["exact", "balanced", "fast"])
def test_every_preset_suits_its_family(family: str, preset: str) -> None:
    for asked in (generating(decoding=preset), infilling(decoding=preset)):
        validate(GenerationRequest("r", (), (), decoding_params(text_family(family), asked)), config_of(family))


SILENT: list[tuple[str, dict[str, Any], str, str]] = [
    ("llada", {"cache_refresh": 4}, "cache_refresh", "cache"),
    ("dreamon", {"decoding": "fast", "cache": "none", "cache_refresh": 4}, "cache_refresh", "cache"),
    ("llada", {"algorithm": "random", "confidence_threshold": 0.9}, "confidence_threshold", "algorithm"),
    ("llada", {"algorithm": "random", "confidence_factor": 0.9}, "confidence_factor", "algorithm"),
    ("llada", {"algorithm": "random", "confidence_margin": 0.25}, "confidence_margin", "algorithm"),
    ("dream", {"algorithm": "origin", "alg_temp": 0.5}, "alg_temp", "algorithm"),
    ("llada", {"confidence_threshold": 0.5, "local_threshold": 0.5}, "local_threshold", "confidence_threshold"),
]


@pytest.mark.parametrize(("family", "given", "field", "other"), SILENT)
def test_a_field_that_another_one_makes_idle_is_refused_with_both_names(
    family: str, given: dict[str, Any], field: str, other: str
) -> None:
    asked = generating(**given)
    with pytest.raises(InvalidParameters, match=rf"{field}.*{other}") as caught:
        check_combination(asked, decoding_params(text_family(family), asked))
    assert caught.value.field == field


@pytest.mark.parametrize(
    "given",
    [
        {"cache_refresh": 4, "decoding": "balanced"},
        {"cache": "none", "decoding": "balanced"},
        {"algorithm": "random", "decoding": "fast"},
        {"confidence_threshold": 0.9, "local_threshold": 0.5, "steps": 8, "block_length": 4},
    ],
)
def test_a_preset_gives_way_without_a_word(given: dict[str, Any]) -> None:
    asked = generating(**given)
    check_combination(asked, decoding_params(LLADA, asked))


def test_dreamon_starts_small() -> None:
    assert decoding_params(DREAMON, infilling()).initial_masks == 8
    assert decoding_params(DREAMON, generating()).initial_masks == 32
    assert decoding_params(DREAMON, infilling(max_length=5)).initial_masks == 5
    assert decoding_params(DREAMON, infilling(initial_masks=40)).initial_masks == 40
    assert decoding_params(DREAMON, infilling()).mask_lengths == ()
    assert decoding_params(LLADA, infilling()).initial_masks is None


def test_a_starting_canvas_longer_than_the_answer_is_refused() -> None:
    with pytest.raises(InvalidParameters, match="initial_masks=50 is above max_length=20") as caught:
        decoding_params(DREAMON, infilling(max_length=20, initial_masks=50))
    assert caught.value.field == "initial_masks"


def test_a_gap_with_text_behind_it_is_not_the_end() -> None:
    assert decoding_params(LLADA, infilling(suffix="b")).eos_never_predicted
    assert not decoding_params(LLADA, infilling(suffix="")).eos_never_predicted
    assert not decoding_params(DREAMON, infilling(suffix="b")).eos_never_predicted
    assert not decoding_params(LLADA, generating()).eos_never_predicted


@given(st.integers(1, 2048), st.data())
def test_candidates_rise_to_max_length_and_miss_no_length_by_more_than_a_quarter(max_length: int, data: Any) -> None:
    candidates = candidate_lengths(max_length)
    assert candidates == tuple(sorted(set(candidates)))
    assert candidates[-1] == max_length
    true_length = data.draw(st.integers(1, max_length))
    assert min(abs(candidate - true_length) for candidate in candidates) <= true_length / 4
