from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.interface.params import GenerationRequest
from app.engine.request.validation import validate
from app.services.diffusion.errors import InvalidParameters
from app.services.diffusion.models import (
    ChatMessage,
    DiffusionChatParams,
    DiffusionGenerationParams,
    DiffusionInfillingParams,
)
from app.services.diffusion.native.families import candidate_lengths, check_combination, decoding_params, prompt_ids
from app.text.chat_template import encode_chat
from app.text.tokenizer import Tokenizer
from tests.unit.engine.oracle import config_of

VECTORS = Path(__file__).parents[4] / "conformance" / "vectors"


def generating(**given: Any) -> DiffusionGenerationParams:
    return DiffusionGenerationParams(**{"text": "x", "max_length": 100, **given})


def infilling(**given: Any) -> DiffusionInfillingParams:
    return DiffusionInfillingParams(**{"prefix": "x", "max_length": 100, **given})


@pytest.mark.parametrize("family", ["dream", "dreamon"])
def test_the_dream_family_is_framed_by_beginning_and_end(family: str) -> None:
    tokenizer = Tokenizer.load(VECTORS / f"{family}-tiny")
    a, b = tuple(tokenizer.encode("left")), tuple(tokenizer.encode("right"))
    filled = prompt_ids(family, tokenizer, infilling(prefix="left", suffix="right"))
    assert filled.prefix == (tokenizer.bos_id, *a)
    assert filled.suffix == (*b, tokenizer.eos_id)
    assert filled.num_prompt_tokens == len(a) + len(b) + 2
    continued = prompt_ids(family, tokenizer, generating(text="left"))
    assert (continued.prefix, continued.suffix) == ((tokenizer.bos_id, *a), ())


def test_llada_gets_the_text_as_its_tokenizer_frames_it() -> None:
    tokenizer = Tokenizer.load(VECTORS / "llada-tiny")
    begin = (tokenizer.bos_id,) if tokenizer.adds_bos else ()
    filled = prompt_ids("llada", tokenizer, infilling(prefix="left", suffix="right"))
    assert filled.prefix == (*begin, *tokenizer.encode("left"))
    assert filled.suffix == tuple(tokenizer.encode("right"))


def test_parameters_are_handed_on() -> None:
    given = generating(temperature=0.5, top_p=0.9, top_k=5, repetition_penalty=1.1, seed=9, steps=7, cfg_scale=1.5)
    decoding = decoding_params("llada", given, end_of_turn=3)
    assert (decoding.max_new_tokens, decoding.temperature, decoding.top_p, decoding.top_k) == (100, 0.5, 0.9, 5)
    assert (decoding.repetition_penalty, decoding.seed, decoding.steps) == (1.1, 9, 7)
    assert (decoding.cfg_scale, decoding.end_of_turn) == (1.5, 3)


def test_top_p_of_one_is_no_filter() -> None:
    assert decoding_params("llada", generating(top_p=1.0)).top_p is None


def test_llada_continues_in_blocks_and_infills_in_one() -> None:
    assert decoding_params("llada", generating()).block_length == 32
    assert decoding_params("llada", generating(block_length=8)).block_length == 8
    assert decoding_params("llada", infilling()).block_length is None
    assert decoding_params("dream", generating()).block_length is None


@pytest.mark.parametrize("family", ["llada", "dream"])
def test_families_of_fixed_length_choose_the_span_of_an_infilling(family: str) -> None:
    assert decoding_params(family, infilling(max_length=20)).mask_lengths == (1, 2, 3, 4, 6, 8, 12, 16, 20)
    assert decoding_params(family, generating()).mask_lengths == ()


@pytest.mark.parametrize("family", ["llada", "dream", "dreamon"])
def test_a_preset_fills_what_the_request_leaves_open(family: str) -> None:
    exact, fast = (decoding_params(family, generating(decoding=name)) for name in ("exact", "fast"))
    assert decoding_params(family, generating()) == exact
    assert (exact.cache, exact.cache_refresh) == ("none", None)
    assert fast.cache == "dual"
    own = decoding_params(family, generating(decoding="fast", cache="none", cache_refresh=3))
    assert (own.cache, own.cache_refresh) == ("none", 3)


def test_a_preset_of_llada_has_its_own_blocks() -> None:
    assert decoding_params("llada", generating(decoding="fast")).block_length == 8
    assert decoding_params("llada", generating(decoding="fast", block_length=64)).block_length == 64
    assert decoding_params("llada", infilling(decoding="fast")).block_length is None


@pytest.mark.parametrize(
    "own", [{"confidence_factor": 1.0}, {"entropy_bound": 1.0}, {"steps": 8}, {"algorithm": "random"}]
)
def test_the_threshold_of_a_preset_gives_way_to_a_rule_of_the_request(own: dict[str, Any]) -> None:
    assert decoding_params("llada", generating(decoding="fast")).confidence_threshold == 0.9
    assert decoding_params("llada", generating(decoding="fast", **own)).confidence_threshold is None


@pytest.mark.parametrize("family", ["llada", "dream", "dreamon"])
@pytest.mark.parametrize("preset", ["exact", "balanced", "fast"])
def test_every_preset_suits_its_family(family: str, preset: str) -> None:
    for asked in (generating(decoding=preset), infilling(decoding=preset)):
        validate(GenerationRequest("r", (), (), decoding_params(family, asked)), config_of(family))


SILENT: list[tuple[str, dict[str, Any], str, str]] = [
    ("llada", {"cache_refresh": 4}, "cache_refresh", "cache"),
    ("dreamon", {"decoding": "fast", "cache": "none", "cache_refresh": 4}, "cache_refresh", "cache"),
    ("llada", {"algorithm": "random", "confidence_threshold": 0.9}, "confidence_threshold", "algorithm"),
    ("llada", {"algorithm": "random", "confidence_factor": 0.9}, "confidence_factor", "algorithm"),
    ("dream", {"algorithm": "origin", "alg_temp": 0.5}, "alg_temp", "algorithm"),
    ("llada", {"confidence_threshold": 0.5, "local_threshold": 0.5}, "local_threshold", "confidence_threshold"),
]


@pytest.mark.parametrize(("family", "given", "field", "other"), SILENT)
def test_a_field_that_another_one_makes_idle_is_refused_with_both_names(
    family: str, given: dict[str, Any], field: str, other: str
) -> None:
    asked = generating(**given)
    with pytest.raises(InvalidParameters, match=rf"{field}.*{other}") as caught:
        check_combination(asked, decoding_params(family, asked))
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
    check_combination(asked, decoding_params("llada", asked))


def test_dreamon_starts_small() -> None:
    assert decoding_params("dreamon", infilling()).initial_masks == 8
    assert decoding_params("dreamon", generating()).initial_masks == 32
    assert decoding_params("dreamon", infilling(max_length=5)).initial_masks == 5
    assert decoding_params("dreamon", infilling(initial_masks=40)).initial_masks == 40
    assert decoding_params("dreamon", infilling()).mask_lengths == ()
    assert decoding_params("llada", infilling()).initial_masks is None


def test_a_starting_canvas_longer_than_the_answer_is_refused() -> None:
    with pytest.raises(InvalidParameters, match="initial_masks=50 is above max_length=20") as caught:
        decoding_params("dreamon", infilling(max_length=20, initial_masks=50))
    assert caught.value.field == "initial_masks"


def test_a_gap_with_text_behind_it_is_not_the_end() -> None:
    assert decoding_params("llada", infilling(suffix="b")).eos_never_predicted
    assert not decoding_params("llada", infilling(suffix="")).eos_never_predicted
    assert not decoding_params("dreamon", infilling(suffix="b")).eos_never_predicted
    assert not decoding_params("llada", generating()).eos_never_predicted


@given(st.integers(1, 2048), st.data())
def test_candidates_rise_to_max_length_and_miss_no_length_by_more_than_a_quarter(max_length: int, data: Any) -> None:
    candidates = candidate_lengths(max_length)
    assert candidates == tuple(sorted(set(candidates)))
    assert candidates[-1] == max_length
    true_length = data.draw(st.integers(1, max_length))
    assert min(abs(candidate - true_length) for candidate in candidates) <= true_length / 4


def test_a_conversation_is_written_by_the_checkpoints_template() -> None:
    tokenizer = Tokenizer.load(VECTORS / "llada-tiny")
    turns = [ChatMessage(role="system", content="Be brief."), ChatMessage(role="user", content="Hi <|eot_id|>")]
    prompt = prompt_ids("llada", tokenizer, DiffusionChatParams(messages=turns))
    expected = encode_chat(tokenizer, [turn.model_dump() for turn in turns], add_generation_prompt=True)
    assert (list(prompt.prefix), prompt.suffix, prompt.num_prompt_tokens) == (expected, (), len(expected))
    assert prompt.prefix.count(tokenizer.special_tokens["<|eot_id|>"]) == 2


def test_a_checkpoint_without_a_template_continues_the_conversation_as_text() -> None:
    tokenizer = Tokenizer.load(VECTORS / "dreamon-tiny")
    chat = DiffusionChatParams(messages=[ChatMessage(role="user", content="Hi")])
    assert chat.text == "User: Hi\n\nAssistant:"
    assert prompt_ids("dreamon", tokenizer, chat) == prompt_ids("dreamon", tokenizer, generating(text=chat.text))
