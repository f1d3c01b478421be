"""The published configs of block-causal families: their shapes, and what of them is refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from app.engine.canvas.special import SpecialIds
from app.engine.families.build import build_model
from app.engine.families.registry import family_of
from app.engine.interface.errors import CheckpointError
from tests.unit.engine.checkpoints import BLOCK_CONFIGS as SMALL
from tests.unit.engine.checkpoints import FAST_DLLM_CONFIG, SDAR_CONFIG

BLOCK_KEYS = {"sdar": "block_size", "stable_diffcoder": "block_size", "fast_dllm_v2": "bd_size"}
TRAINED_BLOCKS = {"sdar": 4, "stable_diffcoder": 4, "fast_dllm_v2": 32}
families = pytest.mark.parametrize("family", SMALL)


@dataclass(frozen=True)
class Shape:
    """The numbers of a published config, and what each layer has beside its matrices."""

    vocabulary: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    head: int
    mlp: int
    tied: bool

    def num_parameters(self, *, biases: bool = False, norms: bool = False) -> int:
        q, kv = self.heads * self.head, self.kv_heads * self.head
        attention = 2 * self.width * q + 2 * self.width * kv + biases * (q + 2 * kv) + norms * 2 * self.head
        layer = attention + 3 * self.width * self.mlp + 2 * self.width
        return (1 if self.tied else 2) * self.vocabulary * self.width + self.layers * layer + self.width

    def config(self, small: Mapping[str, Any]) -> dict[str, Any]:
        return {
            **small,
            "vocab_size": self.vocabulary,
            "hidden_size": self.width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head,
            "intermediate_size": self.mlp,
            "tie_word_embeddings": self.tied,
        }


# SDAR: read from copies of the published config.json in the repositories hxhcreate/DARE (1.7B), Linn3a/DARE (1.7B and
# 4B) and AlekseyCalvin/SDAR (8B). None of these is tied, although Qwen3-1.7B is.
SDAR_1_7B = Shape(151_936, 2048, 28, 16, 8, 128, 6144, tied=False)
SDAR_4B = Shape(151_936, 2560, 36, 32, 8, 128, 9728, tied=False)
SDAR_8B = Shape(151_936, 4096, 36, 32, 8, 128, 12_288, tied=False)
# The shapes of Seed-Coder-8B, Qwen2.5-1.5B and Qwen2.5-7B, which these were made from; their own were not at hand.
STABLE_DIFFCODER_8B = Shape(155_136, 4096, 32, 32, 8, 128, 14_336, tied=False)
FAST_DLLM_1_5B = Shape(151_936, 1536, 28, 12, 2, 128, 8960, tied=True)
FAST_DLLM_7B = Shape(152_064, 3584, 28, 28, 4, 128, 18_944, tied=False)


@pytest.mark.parametrize(
    ("family", "shape", "num_parameters"),
    [
        pytest.param("sdar", SDAR_1_7B, 2_031_739_904, id="SDAR-1.7B"),
        pytest.param("sdar", SDAR_4B, 4_411_424_256, id="SDAR-4B"),
        pytest.param("sdar", SDAR_8B, 8_190_735_360, id="SDAR-8B"),
        pytest.param("stable_diffcoder", STABLE_DIFFCODER_8B, 8_250_462_208, id="Stable-DiffCoder-8B"),
        pytest.param("fast_dllm_v2", FAST_DLLM_1_5B, 1_543_714_304, id="Fast-dLLM v2 1.5B"),
        pytest.param("fast_dllm_v2", FAST_DLLM_7B, 7_615_616_512, id="Fast-dLLM v2 7B"),
    ],
)
def test_true_shapes_are_built_with_all_their_parameters(family: str, shape: Shape, num_parameters: int) -> None:
    with torch.device("meta"):
        model = build_model(shape.config(SMALL[family]))
    expected = shape.num_parameters(biases=family == "fast_dllm_v2", norms=family == "sdar")
    assert sum(weight.numel() for weight in model.parameters()) == expected == num_parameters
    config = model.config
    assert (config.family, config.head_dim, config.tied) == (family, 128, shape.tied)
    assert config.block_length == TRAINED_BLOCKS[family]


def test_heads_may_be_wider_together_than_the_states() -> None:
    with torch.device("meta"):
        layer = build_model(SDAR_4B.config(SDAR_CONFIG)).stack().layers[35].parts()
    assert layer.q.weight.shape == (4096, 2560)
    assert layer.out.weight.shape == (2560, 4096)
    assert layer.q_norm is not None
    assert layer.q_norm.weight.shape == (128,)


@families
def test_names_of_tensors_are_the_published_ones(family: str) -> None:
    model = build_model({**SMALL[family], "num_hidden_layers": 1})
    own = {
        "sdar": {f"self_attn.{name}_norm.weight" for name in "qk"},
        "stable_diffcoder": set(),
        "fast_dllm_v2": {f"self_attn.{name}_proj.bias" for name in "qkv"},
    }[family]
    layer = {f"self_attn.{name}_proj.weight" for name in "qkvo"} | {
        f"mlp.{n}_proj.weight" for n in ("gate", "up", "down")
    }
    layer |= {"input_layernorm.weight", "post_attention_layernorm.weight"} | own
    outer = {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"}
    assert set(dict(model.named_parameters())) == outer | {f"model.layers.0.{name}" for name in layer}


def test_predictions_of_fast_dllm_stand_one_row_before() -> None:
    assert {family: build_model(raw).config.prediction_shift for family, raw in SMALL.items()} == {
        "sdar": 0,
        "stable_diffcoder": 0,
        "fast_dllm_v2": 1,
    }


def test_every_end_of_sdar_ends_the_text_and_only_the_first_of_fast_dllm() -> None:
    ends = {"eos_token_id": [10, 9, 10]}
    assert build_model({**SDAR_CONFIG, **ends}).config.special == SpecialIds(11, 10, 10, other_ends=(9,))
    assert build_model({**FAST_DLLM_CONFIG, **ends}).config.special == SpecialIds(11, 10, 10)


@families
@pytest.mark.parametrize("length", [1, 7, 64])
def test_the_block_is_as_long_as_the_config_says(family: str, length: int) -> None:
    assert build_model({**SMALL[family], BLOCK_KEYS[family]: length}).config.block_length == length


@families
@pytest.mark.parametrize("length", [0, -4, 65, "4", 4.0, True, [4]])
def test_a_senseless_block_is_refused(family: str, length: object) -> None:
    key = BLOCK_KEYS[family]
    with pytest.raises(CheckpointError, match=f"config.json: {key}=.* must be a whole number"):
        build_model({**SMALL[family], key: length})


@families
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"use_sliding_window": True}, "use_sliding_window=True is not supported .* expected False"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "rope_scaling=.*'yarn' are not computed"),
        ({"hidden_act": "gelu"}, "hidden_act='gelu' is not supported .* expected 'silu'"),
        ({"head_dim": 0}, "head_dim is 0"),
        ({"head_dim": 3}, "head_dim is 3; .* even"),
        ({"mask_token_id": None}, "lacks 'mask_token_id'"),
        ({"mask_token_id": 12}, "the mask token 12 is outside the vocabulary"),
        ({"eos_token_id": None}, "lacks 'eos_token_id'"),
    ],
)
def test_what_is_not_computed_is_refused_by_name(family: str, changes: Mapping[str, Any], reason: str) -> None:
    with pytest.raises(CheckpointError, match=f"config.json.*{reason}"):
        build_model({**SMALL[family], **changes})


@pytest.mark.parametrize("family", ["sdar", "stable_diffcoder"])
def test_biases_are_refused(family: str) -> None:
    with pytest.raises(CheckpointError, match="attention_bias=True is not supported"):
        build_model({**SMALL[family], "attention_bias": True})


@pytest.mark.parametrize(
    "names",
    [
        {"architectures": ["StableDiffcoderForCausalLM"]},
        {"auto_map": {"AutoModelForCausalLM": "modeling_stable_diffcoder.StableDiffcoderForCausalLM"}},
    ],
)
def test_stable_diffcoder_is_a_llama_that_names_its_class(names: Mapping[str, Any]) -> None:
    assert family_of({"model_type": "llama", **names}).name == "stable_diffcoder"


@pytest.mark.parametrize(
    "names", [{}, {"architectures": ["LlamaForCausalLM"]}, {"auto_map": 5}, {"auto_map": {"A": 5}}]
)
def test_a_plain_llama_is_refused(names: Mapping[str, Any]) -> None:
    with pytest.raises(CheckpointError, match=r"names no known family: model_type='llama'|Llama is not supported"):
        family_of({"model_type": "llama", **names})
