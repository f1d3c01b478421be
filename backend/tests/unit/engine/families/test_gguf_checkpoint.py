from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("gguf", reason="needs the extra gguf")

from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, dequantize

from app.engine.device.memory import DeviceMemory
from app.engine.families import gguf_checkpoint
from app.engine.families.checkpoint import load_model, stored_bytes
from app.engine.families.gguf_checkpoint import GgufWeights
from app.engine.families.registry import family_of, read_config
from app.engine.families.weight_sizes import stored_types, weight_sizes
from app.engine.interface.config import Demand, EngineConfig, QuantizationName
from app.engine.interface.errors import CheckpointError, OutOfDeviceMemory
from app.engine.passes.runner import ModelRunner
from app.engine.recovery import CPU
from app.engine.room import check
from app.engine.room.estimate import Estimate
from app.engine.thread import EngineThread
from app.formats.gguf import QUANTISED_TYPES
from tests.conformance import traces
from tests.unit.engine.checkpoints import CHECKPOINTS
from tests.unit.engine.gguf_files import write_gguf
from tests.unit.engine.mixture import mixed_requests

NAMES = ("llada-tiny", "dream-tiny", "dreamon-tiny")
every_family = pytest.mark.parametrize("name", NAMES)
MOST_ERROR = {"Q8_0": 0.08, "Q5_1": 0.5, "Q5_0": 0.5, "Q4_1": 0.9, "Q4_0": 0.9}
"""The error of the logits, as a share of their spread: random weights have more of it than trained ones."""
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, kind: str = "F32", **changes: Any) -> Path:
        return write_gguf(tmp_path / "model.gguf", CHECKPOINTS[name], kind, **changes)

    return write


@torch.inference_mode()
def logits_of(location: Path, quantization: QuantizationName = "none") -> torch.Tensor:
    model, ids = load_model(location, CPU, torch.float32, quantization), torch.arange(5, 45)
    return model.head(model.hidden(ids, torch.arange(40), [40]))


def relative_error(approximate: torch.Tensor, exact: torch.Tensor) -> float:
    return float((approximate - exact).square().mean().sqrt() / exact.std())


def refused(location: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_model(location, CPU, torch.float32)
    return str(caught.value)


@every_family
def test_a_file_of_floats_is_the_checkpoint_that_it_was_made_of(name: str, write: Write) -> None:
    """So every golden vector of the checkpoint is one of the file."""
    published = load_model(CHECKPOINTS[name], CPU, torch.float32)
    model = load_model(write(name), CPU, torch.float32)
    special = replace(published.config.special, bos=None)
    assert model.config == replace(published.config, special=special)
    weights = dict(published.named_parameters())
    assert all(torch.equal(weight, weights.pop(name)) for name, weight in model.named_parameters())
    assert not weights


@every_family
@pytest.mark.parametrize(("kind", "dtype"), [("BF16", torch.bfloat16), ("F16", torch.float16)])
def test_halved_floats_are_those_of_the_checkpoint_rounded(
    name: str, kind: str, dtype: torch.dtype, write: Write
) -> None:
    published, model = load_model(CHECKPOINTS[name], CPU, dtype), load_model(write(name, kind), CPU, dtype)
    assert all(torch.equal(a, b) for a, b in zip(published.parameters(), model.parameters(), strict=True))


def test_requests_get_the_events_of_the_checkpoint(write: Write) -> None:
    runners = [
        ModelRunner(load_model(at, CPU, torch.float32)) for at in (CHECKPOINTS["llada-tiny"], write("llada-tiny"))
    ]
    requests = mixed_requests(runners[0].model.config, seed=5, count=3)
    published, same = ([trace.events for trace in traces.run(runner, requests, together=True)] for runner in runners)
    assert same == published


@every_family
@pytest.mark.parametrize("kind", MOST_ERROR)
def test_the_logits_of_quantised_files_are_nearly_those_of_the_checkpoint(name: str, kind: str, write: Write) -> None:
    error = relative_error(logits_of(write(name, kind)), logits_of(CHECKPOINTS[name]))
    assert 0 < error < MOST_ERROR[kind]


def test_a_quantised_file_becomes_int8_as_every_checkpoint_does(write: Write) -> None:
    published, exact = logits_of(CHECKPOINTS["llada-tiny"], "int8"), logits_of(CHECKPOINTS["llada-tiny"])
    assert relative_error(logits_of(write("llada-tiny", "Q8_0"), "int8"), exact) < 2 * relative_error(published, exact)


@pytest.mark.parametrize("kind", sorted(QUANTISED_TYPES - {*MOST_ERROR}))
def test_what_no_package_writes_is_read_as_llama_cpp_reads_it(kind: str, tmp_path: Path) -> None:
    """The bytes are any: the quantiser is a program of llama.cpp's."""
    stored = GGMLQuantizationType[kind]
    block, num_bytes = GGML_QUANT_SIZES[stored]
    blocks = np.random.default_rng(0).integers(0, 64, (16, 256 // block * num_bytes), dtype=np.uint8)
    path = write_raw(tmp_path / "model.gguf", {"blk.0.attn_v.weight": (blocks, stored)})
    weight = GgufWeights(path).get_tensor("model.transformer.blocks.0.v_proj.weight")
    assert weight.shape == (16, 256)
    assert torch.equal(weight, torch.from_numpy(dequantize(blocks, stored)))


def write_raw(path: Path, tensors: dict[str, tuple[Any, GGMLQuantizationType]]) -> Path:
    from gguf import GGUFWriter

    writer = GGUFWriter(path, "llada")
    for name, (content, kind) in tensors.items():
        writer.add_tensor(name, content, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


# -- families and roles -----------------------------------------------------------------------------------------------


def test_dreamon_is_a_dream_with_a_token_that_expands(write: Write) -> None:
    assert family_of(read_config(write("dreamon-tiny"))).name == "dreamon"


@every_family
def test_a_mask_that_the_file_does_not_say_is_found_by_its_name(name: str, write: Write) -> None:
    said = read_config(write(name))["mask_token_id"]
    assert read_config(write(name, **{"tokenizer.ggml.mask_token_id": None}))["mask_token_id"] == said


def test_a_file_without_a_head_has_the_embedding_for_it(write: Write) -> None:
    path = write("llada-tiny", tensors={"model.transformer.ff_out.weight": None})
    assert load_model(path, CPU, torch.float32).config.tied


# -- memory -----------------------------------------------------------------------------------------------------------


def test_floats_stay_in_the_file_and_quantised_ones_do_not(write: Write) -> None:
    model = load_model(CHECKPOINTS["dream-tiny"], CPU, torch.float32)
    mapped = weight_sizes(model, CPU, torch.float32, "none", stored_types(write("dream-tiny")))
    assert (mapped.held, mapped.loading) == (0, 0)
    held = weight_sizes(model, CPU, torch.float32, "none", stored_types(write("dream-tiny", "Q8_0")))
    largest = max(weight.numel() for weight in model.parameters())
    assert held.all == mapped.all
    assert held.held > 0.9 * mapped.all, "norms and biases are floats"
    assert held.loading == 4 * largest


def test_a_file_that_is_larger_than_memory_is_refused_with_the_numbers(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "device_memory", lambda device: DeviceMemory(9_000_000, 9_100_000))
    with pytest.raises(OutOfDeviceMemory, match=r"model.gguf needs .* 0 MB of 9 MB are free on cpu"):
        EngineThread.load(write("llada-tiny", "Q8_0"), EngineConfig(device="cpu"))


def test_nothing_is_unpacked_to_look_at_a_file(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("llada-tiny", "Q4_0")
    monkeypatch.setattr(GgufWeights, "get_tensor", lambda *_: pytest.fail("it was unpacked"))
    assert load_model(path, torch.device("meta"), torch.float32).config.num_layers == 3
    assert Estimate.of(path, EngineConfig(), Demand()).num_weights > 100_000
    assert stored_bytes(path) == path.stat().st_size


# -- what is refused --------------------------------------------------------------------------------------------------


def test_keys_that_are_missing_are_named(write: Write) -> None:
    said = refused(write("llada-tiny", **{"llada.block_count": None, "llada.rope.freq_base": None}))
    assert said == ("model.gguf lacks llada.block_count, llada.rope.freq_base; convert it again with a newer llama.cpp")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"diffusion.shift_logits": True}, "diffusion.shift_logits is True, which is not computed for llada"),
        ({"llada.attention.causal": True}, "llada.attention.causal is True, which is not computed for llada"),
        ({"llada.rope.scaling.type": "yarn"}, "llada.rope.scaling.type is 'yarn'; scaled positions are not computed"),
        ({"llada.block_count": "three"}, "llada.block_count is 'three', which is of another kind than is expected"),
        ({"tokenizer.ggml.tokens": None}, "has no tokenizer: tokenizer.ggml.tokens is missing"),
        ({"split.count": 3}, "is one part of 3; join them by llama-gguf-split --merge"),
    ],
)
def test_what_is_not_computed_is_refused_by_its_key(changes: dict[str, Any], said: str, write: Write) -> None:
    assert said in refused(write("llada-tiny", **changes))


def test_another_architecture_is_refused_by_its_name(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("llada-tiny")
    path.write_bytes(path.read_bytes().replace(b"llada", b"llama"))
    assert refused(path) == "model.gguf: general.architecture='llama' is not read; those that are: llada, dream"


def test_tensors_that_are_missing_or_surplus_are_named(write: Write) -> None:
    lacks = refused(write("llada-tiny", tensors={"model.transformer.blocks.1.ff_proj.weight": None}))
    assert "lacks 1 tensors, the first is 'model.transformer.blocks.1.ff_proj.weight'" in lacks


def test_without_its_package_a_quantised_file_says_what_to_install(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf_checkpoint, "find_spec", lambda name: None)
    assert "pip install 'reynard-diffusion[gguf]'" in refused(write("llada-tiny", "Q8_0"))
    assert logits_of(write("llada-tiny")).isfinite().all()


def test_a_folder_with_one_file_is_that_file_and_one_with_two_is_asked_about(write: Write, tmp_path: Path) -> None:
    path = write("llada-tiny")
    assert torch.equal(logits_of(tmp_path), logits_of(path))
    path.with_name("other.gguf").write_bytes(path.read_bytes())
    assert "holds 2 GGUF files (model.gguf, other.gguf); give the path of one of them" in refused(tmp_path)
