from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NoReturn

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from app.engine.families.build import build_model
from app.engine.interface.errors import CheckpointError
from app.engine.models import llada
from tests.profiles import examples
from tests.unit.engine.checkpoints import BLOCK_CONFIGS, DREAM_CONFIG, LLADA_CONFIG

CONFIGS = {"llada": LLADA_CONFIG, "dream": DREAM_CONFIG, **BLOCK_CONFIGS}
families = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


@pytest.mark.parametrize("architectures", [5, True, "LLaDAModelLM"])
def test_architectures_that_are_no_list_are_refused(architectures: Any) -> None:
    with pytest.raises(CheckpointError, match="architectures"):
        build_model({**LLADA_CONFIG, "model_type": "custom", "architectures": architectures})


REQUIRED = {
    "llada": ["d_model", "n_heads", "n_layers", "mask_token_id", "eos_token_id"],
    "dream": [
        *["hidden_size", "num_attention_heads", "num_hidden_layers", "intermediate_size", "vocab_size"],
        *["mask_token_id", "eos_token_id"],
    ],
}


@pytest.mark.parametrize(("family", "key"), [(family, key) for family, keys in REQUIRED.items() for key in keys])
def test_a_missing_key_is_named(family: str, key: str) -> None:
    with pytest.raises(CheckpointError, match=f"lacks '{key}'"):
        build_model({name: value for name, value in CONFIGS[family].items() if name != key})


@pytest.mark.parametrize("value", ["x", [64], {}, None, float("nan"), float("inf"), -float("inf")], ids=repr)
@pytest.mark.parametrize(("family", "key"), [(family, keys[0]) for family, keys in REQUIRED.items()])
def test_a_value_of_the_wrong_type_is_named(family: str, key: str, value: Any) -> None:
    with pytest.raises(CheckpointError, match=key):
        build_model({**CONFIGS[family], key: value})


@pytest.mark.parametrize("value", ["x", [1.0], 10**400], ids=["text", "list", "too large"])
@families
def test_a_real_number_of_the_wrong_type_is_named(config: Mapping[str, Any], value: Any) -> None:
    with pytest.raises(CheckpointError, match="rope_theta"):
        build_model({**config, "rope_theta": value})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"d_model": 0}, "width is 0"),
        ({"n_layers": 0}, "layers is 0"),
        ({"n_layers": -3}, "layers is -3"),
        ({"n_heads": 0}, "heads is 0"),
        ({"n_heads": -2}, "heads is -2"),
        ({"n_kv_heads": -1}, "key/value heads is -1"),
        ({"mlp_hidden_size": -1}, "MLP width is -1"),
        ({"max_sequence_length": 0}, "context length is 0"),
        ({"embedding_size": -5}, "vocabulary is -5"),
        ({"n_heads": 3}, "width 8 does not split into 3 even heads"),
        ({"n_heads": 8}, "width 8 does not split into 8 even heads"),
        ({"n_kv_heads": 3}, "2 heads cannot share 3 key/value heads"),
        ({"mask_token_id": 12}, "the mask token 12 is outside the vocabulary"),
        ({"eos_token_id": -1}, "the eos token -1 is outside the vocabulary"),
        ({"pad_token_id": 99}, "the pad token 99 is outside the vocabulary"),
        ({"rope_theta": 0}, "rope_theta"),
        ({"rope_theta": -1.0}, "rope_theta"),
        ({"rms_norm_eps": -1e-5}, "rms_norm_eps"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps"),
    ],
)
def test_senseless_sizes_are_refused(changes: Mapping[str, Any], reason: str) -> None:
    with pytest.raises(CheckpointError, match=reason):
        build_model({**LLADA_CONFIG, **changes})


def test_the_expand_token_must_be_in_the_vocabulary() -> None:
    with pytest.raises(CheckpointError, match="the expand token 12 is outside the vocabulary"):
        build_model({**DREAM_CONFIG, "expand_token_id": 12})


@pytest.mark.parametrize("key", ["d_model", "mlp_hidden_size", "embedding_size"])
@pytest.mark.parametrize("value", [2**62, 10**30])
def test_an_absurd_size_is_refused(key: str, value: int) -> None:
    with torch.device("meta"), pytest.raises(CheckpointError):
        build_model({**LLADA_CONFIG, key: value})


def test_an_absurd_number_of_layers_is_refused_before_any_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    def build_block(*_: object) -> NoReturn:
        raise AssertionError("a layer was built")

    monkeypatch.setattr(llada, "Block", build_block)
    with torch.device("meta"), pytest.raises(CheckpointError, match="layers"):
        build_model({**LLADA_CONFIG, "n_layers": 10**9})


@families
def test_unknown_keys_are_tolerated(config: Mapping[str, Any]) -> None:
    build_model({**config, "auto_map": {"AutoModel": "modeling.Model"}, "torch_dtype": "bfloat16"})


# Small numbers only, so that what happens to make sense is quick to build.
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-100, 100)
    | st.floats(-100, 100)
    | st.sampled_from([float("nan"), float("inf"), -float("inf")])
    | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


OTHER_KEYS = (
    *("n_kv_heads", "expand_token_id", "weight_tying", "head_dim", "block_size", "bd_size", "auto_map"),
    *("use_sliding_window", "sliding_window", "unusable_token_ids"),
)


@families
@examples(60)
@given(data=st.data())
def test_any_value_under_any_key_is_built_or_refused(config: Mapping[str, Any], data: st.DataObject) -> None:
    keys = data.draw(st.lists(st.sampled_from([*config, *OTHER_KEYS]), max_size=3))
    changed = {**config, **{key: data.draw(json_values, label=key) for key in keys}}
    with torch.device("meta"), suppress(CheckpointError):
        build_model(changed)
