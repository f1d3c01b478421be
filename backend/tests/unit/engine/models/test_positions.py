from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.interface.errors import CheckpointError
from app.engine.models import dream, llada
from app.engine.models.base import ModelConfig
from tests.unit.engine.checkpoints import DREAM_CONFIG, LLADA_CONFIG

THETA_SPELLINGS = ("rope_theta", "rotary_base", "rotary_emb_base", "rope_base", "rope_freq_base")
SCALINGS = ("linear", "dynamic", "yarn", "longrope", "su", "llama3", "mrope", "proportional", "axial", "ntk", 4.0, True)
PLAIN = {"rope_type": "default"}


def config_of(family: str, **settings: Any) -> ModelConfig:
    """A small config of the family without a base of its own, and with these settings."""
    raw, parse = (DREAM_CONFIG, dream.parse_config) if family == "Dream" else (LLADA_CONFIG, llada.parse_config)
    return parse({**{key: value for key, value in raw.items() if key != "rope_theta"}, **settings}, family)


def refuses(family: str, reason: str, **settings: Any) -> None:
    with pytest.raises(CheckpointError, match=reason):
        config_of(family, **settings)


families = pytest.mark.parametrize("family", ["Dream", "LLaDA"])


@families
def test_without_any_setting_the_base_is_that_of_the_published_classes(family: str) -> None:
    assert config_of(family).rope_theta == 10000.0


@families
@pytest.mark.parametrize(
    "settings",
    [
        *[{name: 1000000} for name in THETA_SPELLINGS],
        {"rope_parameters": {**PLAIN, "rope_theta": 1e6}},
        {"rope_parameters": {"rope_theta": 1e6}},
        {"rope_scaling": {"type": "default", "rope_theta": 1e6}},
        {"rope_parameters": {"full_attention": {**PLAIN, "rope_theta": 1e6}}},
        # No layer slides, so what is said of sliding ones has no effect.
        {"rope_parameters": {"full_attention": {"rope_theta": 1e6}, "sliding_attention": {"rope_theta": 1e4}}},
        {"rope_theta": 1e6, "rope_scaling": None, "rope_parameters": {**PLAIN, "rope_theta": 1000000}},
        {"rope_theta": None, "rotary_emb_base": 1e6},
    ],
)
def test_the_base_in_every_spelling(family: str, settings: Mapping[str, Any]) -> None:
    assert config_of(family, **settings).rope_theta == 1e6


@families
@given(
    given_bases=st.dictionaries(st.sampled_from(THETA_SPELLINGS), st.sampled_from([1e4, 5e5, 1e6]), min_size=1),
    inner=st.none() | st.sampled_from([1e4, 1e6]),
)
def test_bases_agree_or_are_named_as_a_contradiction(
    family: str, given_bases: dict[str, float], inner: float | None
) -> None:
    settings: dict[str, Any] = {**given_bases, "rope_parameters": {**PLAIN, "rope_theta": inner}}
    bases = {*given_bases.values(), *([] if inner is None else [inner])}
    if len(bases) == 1:
        assert config_of(family, **settings).rope_theta == bases.pop()
    else:
        refuses(family, "contradict each other", **settings)


def test_a_contradiction_names_both_places() -> None:
    both = {"rope_theta": 10000.0, "rope_parameters": {**PLAIN, "rope_theta": 1e6}}
    refuses("Dream", r"rope_theta=10000.0 and rope_parameters.rope_theta=1000000.0 contradict each other", **both)


@families
@pytest.mark.parametrize("key", ["rope_scaling", "rope_parameters"])
@pytest.mark.parametrize("kind", SCALINGS)
def test_a_scaling_is_refused_by_name_whatever_key_says_it(family: str, key: str, kind: Any) -> None:
    reason = f"{key}=.* is not supported for {family}: positions of type {kind!r} are not computed"
    for name in ("type", "rope_type"):
        refuses(family, reason, **{key: {name: kind, "factor": 4.0}})
        refuses(family, reason, **{key: {**PLAIN, "type": "default", name: kind}})
        refuses(family, reason, **{key: {"full_attention": {name: kind}}})
    refuses(family, reason, **{key: kind})


@families
@pytest.mark.parametrize("key", ["rope_scaling", "rope_parameters"])
@pytest.mark.parametrize(
    "value",
    [
        *[None, {}, False, "", "default"],
        *[{"type": "default"}, PLAIN, {"rope_type": None}, {**PLAIN, "factor": 1.0}, {**PLAIN, "factor": None}],
        *[{**PLAIN, "partial_rotary_factor": 1.0}, {**PLAIN, "original_max_position_embeddings": 64}],
        *[{"full_attention": None}, {"full_attention": PLAIN, "sliding_attention": None}],
    ],
)
def test_a_setting_that_asks_for_nothing_passes(family: str, key: str, value: Any) -> None:
    assert config_of(family, rope_theta=5e5, **{key: value}).rope_theta == 5e5


@families
@pytest.mark.parametrize(
    "settings",
    [
        *[{"partial_rotary_factor": 1.0}, {"rotary_pct": 1}, {"rope_pct": 1.0}, {"rotary_dim": 4}],
        *[{"position_embedding_type": name} for name in ("rope", "rotary", "RoPE", None)],
        *[{"rope": True}, {"use_rope": True}, {"rope_full_precision": True}, {"rope_full_precision": False}],
        *[{"alibi": False, "alibi_bias_max": 8.0}, {"use_mrope": None}, {"use_mrope": False}, {"mrope_section": []}],
        *[{"use_sliding_window": None}, {"sliding_window": None}, {"use_sliding_window": False, "sliding_window": 8}],
        *[{"use_sliding_window": True, "sliding_window": None}, {"use_sliding_window": True, "sliding_window": 64}],
        *[{"max_window_layers": 28}, {"layer_types": ["full_attention"]}, {"layer_types": None}],
        *[{"use_dynamic_ntk": False}, {"rope_impl": "hf"}, {"original_max_position_embeddings": 64}],
        {"properties": {"scope": 1}, "composition": "x"},
    ],
)
def test_a_key_that_asks_for_nothing_passes(family: str, settings: dict[str, Any]) -> None:
    assert config_of(family, **settings) == config_of(family)


@families
@pytest.mark.parametrize(
    "settings",
    [
        *[{"partial_rotary_factor": 0.5}, {"rotary_pct": 0.25}, {"rope_pct": True}, {"rotary_dim": 2}],
        *[{"position_embedding_type": "absolute"}, {"rope": False}, {"use_rope": 0.5}, {"rope_full_precision": "no"}],
        *[{"alibi": True}, {"use_alibi": True}, {"use_mrope": True}, {"mrope_section": [16, 24, 24]}],
        *[{"use_sliding_window": True}, {"use_sliding_window": True, "sliding_window": 8}, {"use_sliding_window": "x"}],
        *[{"layer_types": ["sliding_attention"]}, {"layer_types": ["full_attention"] * 2}, {"layer_types": "full"}],
        *[{"max_window_layers": "all"}, {"rope_impl": "own"}, {"original_max_position_embeddings": 32}],
        *[{"use_dynamic_ntk": True}, {"useDynamicNtk": True}, {"yarn_factor": 2}, {"no_rope_layers": [1]}],
        *[{"rope_local_base_freq": 1e4}, {"attention_window": 128}, {"position_bias": "t5"}, {"rope_whatever": 1}],
        *[{"rope_parameters": {**PLAIN, "mrope_section": [1]}}, {"rope_scaling": {"factor": 2.0}}],
        *[{"rope_parameters": {"sliding_attention": PLAIN}}, {"rope_parameters": {"some_attention": PLAIN}}],
        *[{"attn_config": {"rope_theta": 1e4}}, {"attn_config": {"alibi": True}}],
    ],
)
def test_a_key_that_asks_for_other_positions_is_refused_by_name(family: str, settings: dict[str, Any]) -> None:
    refuses(family, f"{'|'.join(settings)}.*=.* is not supported for {family}", **settings)


def test_a_window_without_a_switch_means_what_the_family_takes_it_for() -> None:
    assert config_of("Dream", sliding_window=8) == config_of("Dream"), "its class reads it with the switch only"
    refuses("LLaDA", "sliding_window=8 is not supported", sliding_window=8)


@families
def test_context_lengths_agree_or_are_named(family: str) -> None:
    assert config_of(family, max_position_embeddings=64, max_sequence_length=64).context_length == 64
    refuses(family, "contradict each other", max_position_embeddings=64, max_sequence_length=32, n_positions=16)


@families
@given(
    key=st.sampled_from(["rope", "rotary", "alibi", "position", "window", "yarn"]).flatmap(
        lambda word: st.sampled_from([word, f"{word}_x", f"x_{word}", f"x_{word}_x", f"use_{word}"])
    ),
    value=st.integers(2, 9) | st.floats(0.1, 0.9) | st.text("xyz", min_size=1) | st.lists(st.integers(), min_size=1),
)
def test_nothing_that_speaks_of_positions_is_passed_over(family: str, key: str, value: Any) -> None:
    refuses(family, f"{key}=", **{key: value})
