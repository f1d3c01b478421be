from __future__ import annotations

import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from torch import Tensor

from app.engine.device import allocator
from app.engine.families import checkpoint
from app.engine.families.build import build_model
from app.engine.families.checkpoint import load_model
from app.engine.families.registry import read_config
from app.engine.families.weight_sizes import weight_sizes
from app.engine.interface.config import QuantizationName, RuntimeName
from app.engine.models import quantisation
from app.engine.models.byte_products import packed_zero
from app.engine.models.layers import Linear
from app.engine.models.quantisation import (
    Int8Linear,
    Nf4Linear,
    QuantisedLinear,
    multiplies_int8,
    placed,
    quantise_rows,
    weights_to_quantise,
)
from app.engine.passes import graphs
from app.engine.passes.graphs import can_run
from app.engine.passes.runner import ModelRunner
from app.engine.passes.work import SequenceInput
from app.engine.recovery import CPU, copied
from tests.conformance import traces
from tests.profiles import examples
from tests.unit.engine.checkpoints import BLOCK_CHECKPOINTS, CHECKPOINTS
from tests.unit.engine.mixture import mixed_requests

CUDA = torch.device("cuda", 0)
SCHEMES: tuple[QuantizationName, ...] = ("int8", "nf4")
MOST_ERROR = {"int8": 0.06, "nf4": 0.3}
"""The error of a trained model's logits, as a share of their spread."""
MOST_ERROR_AT_RANDOM = {"int8": 0.06, "nf4": 0.8}
"""The error of states of random weights, which rounding changes more; those of another network are 1.4 apart."""
STORY = (
    "Once upon a time, there was a little girl named Anna. She loved to play in the garden with her brother. One day, "
    "they found a small box under the old tree. It was full of letters, and nobody knew who had written them."
)

schemes = pytest.mark.parametrize("scheme", SCHEMES)
tiny = pytest.mark.parametrize("name", ["llada-tiny", "dream-tiny", "dreamon-tiny"])


@pytest.fixture(scope="module")
def quantised() -> Mapping[tuple[str, QuantizationName], ModelRunner]:
    return {
        (name, scheme): ModelRunner(load_model(folder, CPU, torch.float32, scheme))
        for name, folder in CHECKPOINTS.items()
        for scheme in SCHEMES
    }


Quantised = Mapping[tuple[str, QuantizationName], ModelRunner]


@torch.inference_mode()
def some_logits(runner: ModelRunner) -> Tensor:
    return runner.logits([SequenceInput(range(5, 45), range(40)), SequenceInput(range(50, 60), range(10))])


@torch.inference_mode()
def logits_in_a_story(name: str, runner: ModelRunner) -> Tensor:
    """The logits of every second token of a text as the embedded models have read many. Of ids in no order at all a
    model that knows more is surer without reason, and further off once it is rounded."""
    tokenizer = Tokenizer.from_file(str(CHECKPOINTS[name] / "tokenizer.json"))
    ids = tokenizer.encode(STORY, add_special_tokens=False).ids
    hidden = range(1, len(ids), 2)
    canvas = [runner.model.config.special.mask if place in hidden else token for place, token in enumerate(ids)]
    return runner.logits([SequenceInput(tuple(canvas), hidden)])


def relative_error(approximate: Tensor, exact: Tensor) -> float:
    return float((approximate - exact).square().mean().sqrt() / exact.std())


def use_kernel(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Projections that are made from here on are computed as on another processor: slowly, on some."""
    if name == "packed":
        if packed_zero() is None:
            pytest.skip("this processor, or this PyTorch, multiplies no packed bytes")
        monkeypatch.setattr(quantisation, "LEAST_PACKED", 0)
        return
    monkeypatch.setattr(quantisation, "packed_zero", lambda: None)
    monkeypatch.setattr(quantisation, "multiplies_int8", lambda device: name == "VNNI")


@pytest.fixture(params=["packed", "VNNI", "no VNNI"])
def _all_kinds_of_processor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    use_kernel(request.param, monkeypatch)


# -- rounding ---------------------------------------------------------------------------------------------------------


@examples(50)
@given(seed=st.integers(0, 2**32), num_rows=st.integers(1, 9), width=st.integers(1, 70), size=st.floats(1e-20, 1e20))
def test_each_row_is_rounded_alone_to_half_a_step(seed: int, num_rows: int, width: int, size: float) -> None:
    x = size * torch.randn(num_rows, width, generator=torch.Generator().manual_seed(seed))
    quantised, scales = quantise_rows(x)
    assert quantised.dtype == torch.int8
    assert bool(((quantised * scales - x).abs() <= 0.5001 * scales).all())
    for row in range(num_rows):
        assert torch.equal(quantise_rows(x[row : row + 1])[0], quantised[row : row + 1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("piece", [1, 64 * 3, 64 * 48])
def test_a_weight_becomes_the_same_numbers_in_pieces(
    piece: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight = torch.randn(49, 64).to(dtype)
    whole = quantise_rows(weight)
    monkeypatch.setattr(quantisation, "PIECE", piece)
    projection = Int8Linear(weight)
    assert torch.equal(projection.numbers(), whole[0].T)
    assert torch.equal(projection.scales, whole[1].flatten())


def test_a_row_of_zeros_stays_zero() -> None:
    quantised, scales = quantise_rows(torch.zeros(2, 5))
    assert torch.equal(quantised, torch.zeros(2, 5, dtype=torch.int8))
    assert bool(scales.isfinite().all())


@pytest.mark.parametrize(("num_rows", "width"), [(1, 8), (4, 4096), (33, 12), (16, 18944)])
def test_products_of_whole_numbers_are_exact(num_rows: int, width: int) -> None:
    """No kernel may saturate on its way: the largest numbers, of equal and of different signs."""
    signs = torch.randint(0, 2, (num_rows, width)) * 2 - 1
    left, right = (127 * signs).to(torch.int8), torch.full((width, 24), 127, dtype=torch.int8)
    assert torch.equal(torch._int_mm(left, right), (127 * 127 * signs.sum(-1, keepdim=True)).int().expand(-1, 24))
    assert torch.equal(
        torch._int_mm(left.abs(), right), torch.full((num_rows, 24), 127 * 127 * width, dtype=torch.int32)
    )


# -- one projection ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_all_kinds_of_processor")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_an_int8_projection_is_nearly_the_projection(dtype: torch.dtype) -> None:
    weight, x = torch.randn(24, 4096) / 64, 40 * torch.randn(10, 4096).to(dtype)
    product = Int8Linear(weight)(x)
    assert product.dtype == dtype
    assert relative_error(product.float(), x.float() @ weight.T) < 0.02


def test_an_nf4_projection_is_nearly_the_projection() -> None:
    weight, x = torch.randn(24, 64), torch.randn(10, 64)
    assert relative_error(Nf4Linear(weight)(x), x @ weight.T) < 0.15


@schemes
def test_the_bias_is_added_and_keeps_its_type(scheme: QuantizationName) -> None:
    linear, x = Linear(64, 24), torch.randn(3, 64)
    projection = QuantisedLinear(linear, linear.weight, scheme)
    assert torch.equal(projection(x), projection.product(x) + linear.bias)
    assert [name for name, _ in projection.named_parameters()] == ["bias"]


@pytest.mark.parametrize("kernel", ["packed", "VNNI"])
@torch.inference_mode()
def test_a_row_has_the_same_bits_in_any_batch_however_small(kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use_kernel(kernel, monkeypatch)
    projection, x = Int8Linear(torch.randn(48, 64)), torch.randn(37, 64)
    together = projection(x)
    for row in range(len(x)):
        assert torch.equal(projection(x[row : row + 1]), together[row : row + 1])
    assert projection(x[:0]).shape == (0, 48)


@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packed_weights_give_the_bits_of_those_that_are_not(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight, x = torch.randn(72, 1100), torch.randn(19, 1100).to(dtype)
    assert not Int8Linear(weight).qweight.is_mkldnn  # too small to pay
    use_kernel("packed", monkeypatch)
    projection = Int8Linear(weight)
    assert projection.qweight.is_mkldnn
    numbers, product = projection.numbers(), projection(x)
    use_kernel("VNNI", monkeypatch)
    projection = Int8Linear(weight)
    assert torch.equal(projection.qweight, numbers)
    assert torch.equal(projection(x), product)


@pytest.mark.usefixtures("_all_kinds_of_processor")
def test_numbers_are_placed_on_another_device_as_it_wants_them() -> None:
    projection = Int8Linear(torch.randn(24, 40))
    elsewhere = placed(projection.qweight, torch.device("meta"))
    assert (elsewhere.device.type, elsewhere.shape, elsewhere.is_mkldnn) == ("meta", (40, 24), False)
    assert placed(projection.qweight, CPU) is projection.qweight
    assert placed(projection.scales, CPU) is projection.scales


# -- a model ----------------------------------------------------------------------------------------------------------


def test_a_model_of_packed_weights_gives_the_events_of_one_whose_weights_are_not(
    quantised: Quantised, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = ModelRunner(quantised["dreamon-tiny", "int8"].model, cpu_runtime="torch")
    use_kernel("packed", monkeypatch)
    model = load_model(CHECKPOINTS["dreamon-tiny"], CPU, torch.float32, "int8")
    assert {weight.is_mkldnn for weight in model.buffers() if weight.dtype == torch.int8} == {True}
    assert ModelRunner(model).memory_bytes == ModelRunner(plain.model).memory_bytes
    requests = mixed_requests(model.config, seed=3, count=3)
    ways = (ModelRunner(model, cpu_runtime="torch"), ModelRunner(copied(model, CPU, torch.float32), None, "torch"))
    expected = [trace.events for trace in traces.run(plain, requests, together=True)]
    for runner in ways:
        assert [trace.events for trace in traces.run(runner, requests, together=True)] == expected
    assert relative_error(some_logits(ModelRunner(model)), some_logits(plain)) < MOST_ERROR["int8"] / 2


@tiny
@schemes
def test_the_projections_of_all_layers_are_quantised_and_nothing_else(
    name: str, scheme: QuantizationName, quantised: Quantised, runners: Mapping[str, ModelRunner]
) -> None:
    model, exact = quantised[name, scheme].model, runners[name].model
    left = {name: weight for name, weight in exact.named_parameters() if name not in weights_to_quantise(exact)}
    assert {name: weight.shape for name, weight in model.named_parameters()} == {
        name: weight.shape for name, weight in left.items()
    }
    assert all(torch.equal(weight, left[name]) for name, weight in model.named_parameters())
    assert len(weights_to_quantise(exact)) == 7 * exact.config.num_layers


@pytest.mark.parametrize("name", ["embedded-llada", "embedded-dreamon"])
@schemes
def test_the_logits_of_a_quantised_model_are_nearly_those_of_the_model(
    name: str, scheme: QuantizationName, quantised: Quantised, runners: Mapping[str, ModelRunner]
) -> None:
    approximate, exact = (logits_in_a_story(name, each) for each in (quantised[name, scheme], runners[name]))
    assert relative_error(approximate, exact) < MOST_ERROR[scheme]


@pytest.mark.parametrize("name", ["embedded-llada", "embedded-dreamon"])
@pytest.mark.skipif(not multiplies_int8(CPU), reason="without VNNI no graph multiplies bytes")
def test_a_graph_of_bytes_computes_what_the_modules_compute(name: str, quantised: Quantised) -> None:
    graphed = quantised[name, "int8"]
    assert can_run(graphed.model)
    by_modules = ModelRunner(graphed.model, cpu_runtime="torch")
    assert relative_error(some_logits(graphed), some_logits(by_modules)) < MOST_ERROR["int8"] / 2


@pytest.mark.parametrize("runtime", ["auto", "torch"])
@pytest.mark.parametrize("place", [0, 1, -1])
@pytest.mark.skipif(not multiplies_int8(CPU), reason="without VNNI no graph multiplies bytes")
@torch.inference_mode()
def test_a_broken_number_reaches_the_logits(runtime: RuntimeName, place: int) -> None:
    """ONNX Runtime's ReduceMax passes over NaN that does not come first, and its QuantizeLinear makes a byte of it."""
    model = load_model(CHECKPOINTS["llada-tiny"], CPU, torch.float32, "int8")
    gate = cast(QuantisedLinear, model.stack().layers[0].parts().gate)
    cast(Int8Linear, gate.product).scales[place] = torch.nan
    assert some_logits(ModelRunner(model, cpu_runtime=runtime)).isnan().all()


def test_graphs_are_for_int8_alone_and_where_bytes_are_multiplied(
    quantised: Quantised, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not can_run(quantised["llada-tiny", "nf4"].model)
    monkeypatch.setattr(graphs, "multiplies_int8", lambda device: False)
    assert not can_run(quantised["llada-tiny", "int8"].model)


@pytest.mark.parametrize("name", ["llada-tiny", "dreamon-tiny"])
@schemes
def test_a_request_gets_the_same_events_alone_and_in_a_batch(
    name: str, scheme: QuantizationName, quantised: Quantised
) -> None:
    runner = quantised[name, scheme]
    requests = mixed_requests(runner.model.config, seed=7, count=6)
    alone = traces.run(runner, requests, together=False)
    assert [trace.events for trace in traces.run(runner, requests, together=True)] == [t.events for t in alone]


def bytes_before(folder: Path, dtype: torch.dtype, scheme: QuantizationName) -> int:
    """The bytes of the weights of a checkpoint, none of which is loaded."""
    with torch.device("meta"):
        model = build_model(read_config(folder))
    return weight_sizes(model, CPU, dtype, scheme, {}).all


@pytest.mark.parametrize("scheme", ["none", *SCHEMES])
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_the_memory_of_quantised_weights_is_known_before_they_are_loaded(name: str, scheme: QuantizationName) -> None:
    folder = CHECKPOINTS[name]
    loaded = ModelRunner(load_model(folder, CPU, torch.bfloat16, scheme)).memory_bytes
    assert bytes_before(folder, torch.bfloat16, scheme) == loaded


@pytest.mark.parametrize("name", BLOCK_CHECKPOINTS)
@schemes
@torch.inference_mode()
def test_block_causal_networks_are_quantised_too(name: str, scheme: QuantizationName) -> None:
    """Some of their heads are wider together than the states, and queries and keys have norms."""
    folder = BLOCK_CHECKPOINTS[name]
    exact, model = load_model(folder, CPU, torch.float32), load_model(folder, CPU, torch.float32, scheme)
    assert len(weights_to_quantise(exact)) == 7 * exact.config.num_layers
    assert not weights_to_quantise(model)
    runner = ModelRunner(model, cpu_runtime="torch")
    assert runner.memory_bytes == bytes_before(folder, torch.float32, scheme)
    ids = torch.arange(40)
    states = [network.hidden(ids, ids, [40]) for network in (model, exact)]
    assert 0 < relative_error(*states) < MOST_ERROR_AT_RANDOM[scheme]


def test_freed_memory_goes_back_while_weights_are_quantised(monkeypatch: pytest.MonkeyPatch) -> None:
    num_times = [0]
    monkeypatch.setattr(checkpoint, "GIVE_BACK_EVERY", 4)
    monkeypatch.setattr(allocator, "give_back", lambda: num_times.__setitem__(0, num_times[0] + 1))
    folder = CHECKPOINTS["llada-tiny"]
    exact = load_model(folder, CPU, torch.float32)
    assert num_times == [0]
    load_model(folder, CPU, torch.float32, "int8")
    assert num_times == [len(weights_to_quantise(exact)) // 4]


@schemes
def test_weights_are_quantised_one_by_one(scheme: QuantizationName, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[weakref.ref[Tensor]] = []

    def watched(replaced: Linear, weight: Tensor, quantization: QuantizationName) -> QuantisedLinear:
        assert all(earlier() is None for earlier in seen)
        seen.append(weakref.ref(weight))
        return QuantisedLinear(replaced, weight, quantization)

    monkeypatch.setattr(checkpoint, "QuantisedLinear", watched)
    model = load_model(CHECKPOINTS["llada-tiny"], CPU, torch.float32, scheme)
    assert len(seen) == 7 * model.config.num_layers


def dense(weight: Tensor) -> Tensor:
    return weight.to_dense() if weight.is_mkldnn else weight


@schemes
def test_a_copy_has_its_own_quantised_weights(scheme: QuantizationName, quantised: Quantised) -> None:
    model = quantised["dreamon-tiny", scheme].model
    halved = copied(model, CPU, torch.bfloat16)
    assert {weight.dtype for weight in halved.parameters()} == {torch.bfloat16}
    kept = dict(halved.named_buffers())
    assert all(torch.equal(dense(kept[name]), dense(weight)) for name, weight in model.named_buffers())
    back = ModelRunner(copied(halved, CPU, torch.float32))
    assert relative_error(some_logits(back), some_logits(quantised["dreamon-tiny", scheme])) < 0.05


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@schemes
def test_a_quantised_model_moves_between_a_gpu_and_the_cpu(scheme: QuantizationName) -> None:
    on_gpu = ModelRunner(load_model(CHECKPOINTS["embedded-dreamon"], CUDA, torch.float32, scheme))
    on_cpu = ModelRunner(copied(on_gpu.model, CPU, torch.float32), cpu_runtime="torch")
    back = ModelRunner(copied(on_cpu.model, CUDA, torch.float32))
    assert on_gpu.memory_bytes == on_cpu.memory_bytes == back.memory_bytes
    assert relative_error(some_logits(on_cpu), some_logits(on_gpu).cpu()) < MOST_ERROR["int8"]
    assert torch.equal(some_logits(back), some_logits(on_gpu))
