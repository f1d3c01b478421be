from __future__ import annotations

import json
import pickle
import re
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from app.engine.families import load_progress
from app.engine.families.build import build_model
from app.engine.families.checkpoint import load_model, stored_bytes
from app.engine.families.checkpoint_files import read_json
from app.engine.families.weight_sizes import stored_types, weight_sizes
from app.engine.interface.errors import CheckpointError, OutOfDeviceMemory
from app.engine.models.base import FamilyModel
from tests.profiles import examples
from tests.unit.engine.checkpoints import (
    CHECKPOINTS,
    DREAM_CONFIG,
    LLADA_CONFIG,
    weights_for,
    write_checkpoint,
    write_config,
    write_shards,
)

HEAD, NORM = "model.transformer.ff_out.weight", "model.transformer.ln_f.weight"
WEIGHTS = weights_for(LLADA_CONFIG)
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


def load(folder: Path, dtype: torch.dtype = torch.float32) -> FamilyModel:
    return load_model(folder, torch.device("cpu"), dtype)


def refuses(folder: Path, reason: str) -> None:
    with pytest.raises(CheckpointError, match=reason):
        load(folder)


def shards() -> dict[str, dict[str, Tensor]]:
    names = sorted(WEIGHTS)
    return {file: {name: WEIGHTS[name] for name in part} for file, part in ((FIRST, names[:5]), (SECOND, names[5:]))}


def index_of(parts: dict[str, dict[str, Tensor]]) -> dict[str, str]:
    return {name: file for file, part in parts.items() for name in part}


@pytest.fixture
def single(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path, LLADA_CONFIG)


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    write_config(tmp_path, LLADA_CONFIG)
    return write_shards(tmp_path, shards(), index_of(shards()))


# -- what loads -------------------------------------------------------------------------------------------------------


def holds(model: FamilyModel, weights: dict[str, Tensor]) -> bool:
    loaded = dict(model.named_parameters())
    return loaded.keys() == weights.keys() and all(torch.equal(loaded[name], weights[name]) for name in weights)


def test_one_file(single: Path) -> None:
    assert holds(load(single), WEIGHTS)


def test_several_files(sharded: Path) -> None:
    assert holds(load(sharded), WEIGHTS)


def test_dream(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, DREAM_CONFIG)
    assert holds(load(tmp_path), weights_for(DREAM_CONFIG))


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16, torch.float64])
def test_weights_are_converted_to_the_wanted_type(tmp_path: Path, stored: torch.dtype) -> None:
    weights = weights_for(LLADA_CONFIG, stored)
    write_checkpoint(tmp_path, LLADA_CONFIG, weights)
    assert holds(load(tmp_path), {name: weight.float() for name, weight in weights.items()})


def test_a_loaded_model_is_not_trained(single: Path) -> None:
    assert not any(weight.requires_grad for weight in load(single).parameters())


TIED = {
    "llada": ({**LLADA_CONFIG, "weight_tying": True}, HEAD, "model.transformer.wte.weight"),
    "dream": ({**DREAM_CONFIG, "tie_word_embeddings": True}, "lm_head.weight", "model.embed_tokens.weight"),
}
tied_families = pytest.mark.parametrize("family", TIED)


@tied_families
@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
def test_a_tied_head_may_be_stored_too(tmp_path: Path, family: str, stored: torch.dtype) -> None:
    config, head, embedding = TIED[family]
    weights = weights_for(config)
    write_checkpoint(tmp_path, config, {**weights, head: weights[embedding].to(stored).clone()})
    assert holds(load(tmp_path), weights)


@tied_families
@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
def test_a_tied_head_may_be_stored_in_place_of_the_embedding(tmp_path: Path, family: str, stored: torch.dtype) -> None:
    config, head, embedding = TIED[family]
    weights = {name: weight.to(stored) for name, weight in weights_for(config).items()}
    write_checkpoint(tmp_path, config, {head if name == embedding else name: each for name, each in weights.items()})
    assert holds(load(tmp_path, stored), weights)
    with torch.device("meta"):
        model = build_model(config)
    assert weight_sizes(model, torch.device("cpu"), stored, "none", stored_types(tmp_path)).held == 0


@tied_families
def test_a_tied_head_that_is_another_matrix_is_a_contradiction(tmp_path: Path, family: str) -> None:
    config, head, embedding = TIED[family]
    weights = weights_for(config)
    write_checkpoint(tmp_path, config, {**weights, head: weights[embedding] + 1})
    refuses(tmp_path, re.escape(f"holds {head!r}, which differs from {embedding!r}; set tie_word_embeddings"))
    write_checkpoint(tmp_path, config, {**weights, head: weights[embedding][1:].clone()})
    refuses(tmp_path, f"{head!r} has shape")


@tied_families
def test_a_head_that_is_missing_may_be_meant_as_tied(tmp_path: Path, family: str) -> None:
    config, head, _ = TIED[family]
    untied = {**config, "weight_tying": False, "tie_word_embeddings": False}
    write_checkpoint(tmp_path, untied, weights_for(config))
    refuses(tmp_path, f"the first is '{head}'; if the head is the embedding, the config must say so")


@pytest.mark.parametrize(
    ("name", "buffer"),
    [
        ("model.layers.0.self_attn.rotary_emb.inv_freq", torch.ones(2)),
        ("model.rotary_emb.inv_freq", torch.ones(2)),
        ("model.rotary_emb.original_inv_freq", torch.ones(2)),
        ("model.layers.0.self_attn.rotary_emb.cos_cached", torch.ones(1, 1, 64, 4)),
        ("model.embeddings.position_ids", torch.arange(64)),
    ],
)
def test_buffers_that_follow_from_the_config_are_passed_over(tmp_path: Path, name: str, buffer: Tensor) -> None:
    write_checkpoint(tmp_path, LLADA_CONFIG, {**WEIGHTS, name: buffer})
    assert holds(load(tmp_path), WEIGHTS)


@pytest.mark.parametrize("key", ["torch_dtype", "dtype"])
@pytest.mark.parametrize("value", ["bfloat16", "auto", None, {"model": "bfloat16"}])
def test_the_type_that_a_config_names_does_not_matter(tmp_path: Path, key: str, value: Any) -> None:
    write_checkpoint(tmp_path, {**LLADA_CONFIG, key: value}, WEIGHTS)
    assert holds(load(tmp_path), WEIGHTS)


@pytest.mark.parametrize(
    ("own", "generation", "ends"),
    [
        (10, {}, (10,)),
        (10, {"eos_token_id": None}, (10,)),
        (10, {"eos_token_id": 10}, (10,)),
        (10, {"eos_token_id": [9, 10]}, (10, 9)),
        ([10, 8], {"eos_token_id": 9}, (10, 8, 9)),
        (None, {"eos_token_id": [9, 10]}, (9, 10)),
    ],
)
def test_the_ends_of_both_configs_count(tmp_path: Path, own: Any, generation: Any, ends: tuple[int, ...]) -> None:
    write_checkpoint(tmp_path, {**LLADA_CONFIG, "eos_token_id": own}, WEIGHTS)
    (tmp_path / "generation_config.json").write_text(json.dumps(generation))
    assert load(tmp_path).config.special.ends == ends


def test_a_damaged_generation_config_is_named(single: Path) -> None:
    (single / "generation_config.json").write_text("{")
    refuses(single, "generation_config.json cannot be read")


def test_json_may_begin_with_a_byte_order_mark(single: Path) -> None:
    path = single / "config.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert holds(load(single), WEIGHTS)


def mapped_ranges(path: Path) -> list[tuple[int, int]]:
    """The places where the process has mapped `path`."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    ranges = [line.split()[0].split("-") for line in lines if line.endswith(str(path))]
    return [(int(low, 16), int(high, 16)) for low, high in ranges]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_weights_of_the_right_type_are_the_mapped_file() -> None:
    folder = CHECKPOINTS["llada-tiny"]
    model = load(folder)
    ranges = mapped_ranges(folder / "model.safetensors")
    for name, weight in model.named_parameters():
        start, size = weight.data_ptr(), weight.numel() * weight.element_size()
        assert any(low <= start and start + size <= high for low, high in ranges), name


def test_the_log_says_how_much_of_a_large_checkpoint_is_read(
    sharded: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_progress, "EVERY_S", 0.0)
    monkeypatch.setattr("app.engine.families.checkpoint.stored_bytes", lambda folder: 3_000_000_000)
    with caplog.at_level("INFO"):
        load(sharded)
    shares = [float(share) for share in re.findall(r": ([\d.]+) of 3\.0 GB are read", caplog.text)]
    assert shares == sorted(shares)
    assert shares[-1] == 3.0


def test_weights_that_do_not_fit_the_device(single: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill_the_device(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("tried to allocate 3 TiB")

    monkeypatch.setattr(Tensor, "to", fill_the_device)
    with pytest.raises(OutOfDeviceMemory, match="do not fit cpu"):
        load(single)


# -- tensors that do not suit the config ------------------------------------------------------------------------------


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, LLADA_CONFIG, {name: WEIGHTS[name] for name in WEIGHTS if name != HEAD})
    refuses(tmp_path, f"lacks 1 tensors, the first is '{HEAD}'")


def test_a_surplus_tensor_is_named(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, LLADA_CONFIG, {**WEIGHTS, "extra.weight": torch.zeros(2)})
    refuses(tmp_path, "model.safetensors holds 'extra.weight', which this model does not have")


@pytest.mark.parametrize("shape", [(12, 9), (8, 12), (96,), (12, 8, 1), (0, 8)])
def test_a_misshapen_tensor_is_named(tmp_path: Path, shape: tuple[int, ...]) -> None:
    write_checkpoint(tmp_path, LLADA_CONFIG, {**WEIGHTS, HEAD: torch.zeros(shape)})
    refuses(tmp_path, re.escape(f"'{HEAD}' has shape {shape}, the config wants (12, 8)"))


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.uint8, torch.bool])
def test_tensors_that_are_no_floating_point_numbers_are_named(tmp_path: Path, dtype: torch.dtype) -> None:
    write_checkpoint(tmp_path, LLADA_CONFIG, {**WEIGHTS, NORM: torch.ones(8, dtype=dtype)})
    refuses(tmp_path, f"'{NORM}' holds .*, not floating point numbers")


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_float8_is_called_by_its_name(tmp_path: Path, dtype: torch.dtype) -> None:
    write_checkpoint(tmp_path, LLADA_CONFIG, {**WEIGHTS, NORM: torch.ones(8).to(dtype)})
    refuses(tmp_path, f"'{NORM}' holds F8_.*: quantised weights \\(float8, .* take the checkpoint in bfloat16")


def test_complex_numbers_are_refused_too(single: Path) -> None:
    """Older releases of safetensors do not even know them, and find the file damaged."""
    path = single / "model.safetensors"
    path.write_bytes(path.read_bytes().replace(b'"F32"', b'"C64"'))
    refuses(single, "model.safetensors")


@pytest.mark.parametrize("scale", ["weight_scale_inv", "weight_scale", "input_scale", "biases"])
def test_scales_of_quantised_weights_say_what_the_checkpoint_is(tmp_path: Path, scale: str) -> None:
    name = f"model.transformer.blocks.0.q_proj.{scale}"
    write_checkpoint(tmp_path, LLADA_CONFIG, {**WEIGHTS, name: torch.ones(1)})
    refuses(tmp_path, f"holds '{name}': quantised weights .* are not supported")


@pytest.mark.parametrize("settings", [{"quant_method": "fp8"}, {"quant_method": "awq", "bits": 4}, "gptq"])
def test_a_quantised_checkpoint_is_called_by_its_method(tmp_path: Path, settings: Any) -> None:
    write_checkpoint(tmp_path, {**LLADA_CONFIG, "quantization_config": settings}, WEIGHTS)
    refuses(tmp_path, "quantization_config asks for '(fp8|awq|gptq)': quantised weights")


@pytest.mark.parametrize("name", ["quantization", "quantization_config"])
def test_a_checkpoint_that_mlx_quantised_is_called_by_its_bits(tmp_path: Path, name: str) -> None:
    write_checkpoint(tmp_path, {**LLADA_CONFIG, name: {"quant_method": None, "group_size": 64, "bits": 4}}, WEIGHTS)
    refuses(tmp_path, f"config.json: {name} asks for .*'bits': 4.*: quantised weights .* take the checkpoint")


def test_a_tensor_in_two_files_is_named(tmp_path: Path) -> None:
    parts = shards()
    name = next(iter(parts[FIRST]))
    parts[SECOND][name] = WEIGHTS[name]
    write_config(tmp_path, LLADA_CONFIG)
    write_shards(tmp_path, parts, index_of(shards()))
    refuses(tmp_path, f"'{name}' stands in {FIRST} and again in {SECOND}")


def test_nothing_is_placed_before_everything_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_checkpoint(tmp_path, LLADA_CONFIG, {**WEIGHTS, "zzz": torch.zeros(2)})
    monkeypatch.setattr("app.engine.families.checkpoint._place", lambda *_: pytest.fail("a tensor was placed"))
    refuses(tmp_path, "zzz")


# -- files that are missing or damaged --------------------------------------------------------------------------------


def test_an_empty_folder_lacks_its_config(tmp_path: Path) -> None:
    refuses(tmp_path, "config.json is missing")


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    refuses(tmp_path / "nowhere", "config.json is missing")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "config.json cannot be read"),
        (b"{", "config.json cannot be read"),
        (b"[1, 2]", "config.json holds no JSON object"),
        (b'"llada"', "config.json holds no JSON object"),
        (b'{"model_type": "\xff\xfe"}', "config.json cannot be read"),
        (b"[" * 200_000, "config.json cannot be read"),
        (b'{"a": ' * 200_000, "config.json cannot be read"),
        (b'{"d_model": ' + b"9" * 10_000 + b"}", "config.json cannot be read"),
    ],
    ids=["empty", "cut off", "a list", "a string", "no UTF-8", "deep lists", "deep objects", "an endless number"],
)
def test_a_config_that_is_no_json_object(single: Path, content: bytes, reason: str) -> None:
    (single / "config.json").write_bytes(content)
    refuses(single, reason)


def test_a_config_that_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()
    refuses(tmp_path, "config.json cannot be read")


def test_json_of_absurd_size_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.engine.families.checkpoint_files._MAX_JSON_BYTES", 10)
    (tmp_path / "config.json").write_text('{"a": 123456}')
    with pytest.raises(CheckpointError, match=r"config\.json is larger than 10 bytes"):
        read_json(tmp_path / "config.json")


def cut_off(data: bytes) -> bytes:
    return data[: len(data) // 2]


def cut_off_in_the_header(data: bytes) -> bytes:
    return data[:100]


def with_header_length(length: int) -> Callable[[bytes], bytes]:
    return lambda data: struct.pack("<Q", length) + data[8:]


def with_garbage_in_the_header(data: bytes) -> bytes:
    return data[:8] + b"\xff" * 40 + data[48:]


def with_something_at_the_end(data: bytes) -> bytes:
    return data + b"surplus"


@pytest.mark.parametrize(
    "damage",
    [
        *[cut_off, cut_off_in_the_header, with_garbage_in_the_header, with_something_at_the_end],
        *[with_header_length(length) for length in (0, 1, 10**6, 2**40, 2**63, 2**64 - 1)],
        *[lambda data: b"", lambda data: data[:4], lambda data: bytes(1000)],
    ],
)
def test_a_damaged_file_is_named(single: Path, damage: Callable[[bytes], bytes]) -> None:
    path = single / "model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    refuses(single, "model.safetensors is no intact safetensors file")


class Trap:
    """Unpickling this writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors", "model.pt", "pytorch_model.bin.index.json"])
def test_a_pickle_is_never_opened(tmp_path: Path, name: str) -> None:
    write_config(tmp_path, LLADA_CONFIG)
    sprung = tmp_path / "sprung"
    (tmp_path / name).write_bytes(pickle.dumps(Trap(sprung)))
    refuses(tmp_path, "model.safetensors")
    assert not sprung.exists()


# -- the index --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *["../x.safetensors", "/etc/x.safetensors", "folder/x.safetensors", "..", "", "."],
        *["pytorch_model.bin", "x.safetensors/", "x.safetensors.bin"],
    ],
)
def test_an_index_opens_only_safetensors_of_its_own_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    save_file(WEIGHTS, tmp_path / "x.safetensors")
    write_config(folder, LLADA_CONFIG)
    write_shards(folder, {}, dict.fromkeys(WEIGHTS, name))
    refuses(folder, re.escape(f"names {name!r}; only .safetensors files of the same folder"))


@pytest.mark.parametrize(
    "name",
    ["missing.safetensors", "nul\0.safetensors", "\ud800.safetensors", "a" * 300 + ".safetensors"],
    ids=["missing", "NUL", "lone surrogate", "too long"],
)
def test_an_index_that_names_a_file_that_cannot_be(tmp_path: Path, name: str) -> None:
    write_config(tmp_path, LLADA_CONFIG)
    write_shards(tmp_path, {}, dict.fromkeys(WEIGHTS, name))
    refuses(tmp_path, "missing|names")


@pytest.mark.parametrize(
    "index",
    [{}, {"weight_map": None}, {"weight_map": [FIRST]}, {"weight_map": {NORM: 5}}, {"weight_map": {NORM: None}}],
)
def test_an_index_without_a_map(sharded: Path, index: Any) -> None:
    (sharded / "model.safetensors.index.json").write_text(json.dumps(index))
    refuses(sharded, "index.json has no weight_map from tensor names to file names")


def test_an_index_without_files(sharded: Path) -> None:
    (sharded / "model.safetensors.index.json").write_text('{"weight_map": {}}')
    refuses(sharded, f"lacks {len(WEIGHTS)} tensors")


def test_a_single_file_comes_before_an_index_whose_shards_are_gone(sharded: Path) -> None:
    save_file(WEIGHTS, sharded / "model.safetensors")
    (sharded / SECOND).unlink()
    assert holds(load(sharded), WEIGHTS)


def test_a_single_file_comes_before_shards_that_differ(sharded: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As in transformers; and the log says so."""
    others = {name: weight + 1 for name, weight in WEIGHTS.items()}
    save_file(others, sharded / "model.safetensors")
    assert holds(load(sharded), others)
    assert "model.safetensors is read, and model.safetensors.index.json beside it is not" in caplog.text
    assert stored_bytes(sharded) == (sharded / "model.safetensors").stat().st_size


def test_a_lost_shard_is_named(sharded: Path) -> None:
    (sharded / SECOND).unlink()
    refuses(sharded, f"{SECOND} is missing")


# -- any damage -------------------------------------------------------------------------------------------------------

flips = st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("pristine"), LLADA_CONFIG)


@contextmanager
def flipped(path: Path, changes: list[tuple[int, int]], length: int) -> Iterator[None]:
    """Bits of the first `length` bytes are flipped, for a while."""
    intact = path.read_bytes()
    data = bytearray(intact)
    for position, bits in changes:
        data[position % length] ^= bits
    replace_file(path, bytes(data))
    try:
        yield
    finally:
        replace_file(path, intact)


def replace_file(path: Path, data: bytes) -> None:
    """A loaded file is mapped: it may be replaced, never written into."""
    path.unlink()
    path.write_bytes(data)


@examples(150)
@given(changes=flips)
def test_flipped_bytes_in_a_header_are_refused_or_harmless(changes: list[tuple[int, int]], pristine: Path) -> None:
    path = pristine / "model.safetensors"
    header_end = 8 + int.from_bytes(path.read_bytes()[:8], "little")
    with flipped(path, changes, header_end), suppress(CheckpointError):
        shapes = {name: weight.shape for name, weight in load(pristine).named_parameters()}
        assert shapes == {name: weight.shape for name, weight in WEIGHTS.items()}


@examples(150)
@given(changes=flips)
def test_flipped_bytes_in_a_config_are_refused_or_build_a_model(changes: list[tuple[int, int]], pristine: Path) -> None:
    path = pristine / "config.json"
    with flipped(path, changes, path.stat().st_size), suppress(CheckpointError):
        load(pristine)
