"""Requests with adapters of one base in one engine: their batches, their moves, and what a fault leaves behind."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from app.engine.cache.span import ComputedSpan
from app.engine.engine import Engine
from app.engine.families.adapter import load_adapter
from app.engine.families.checkpoint import load_model
from app.engine.families.registry import family_named
from app.engine.interface.config import EngineConfig, QuantizationName, RuntimeName
from app.engine.interface.errors import CheckpointError, InvalidRequest
from app.engine.interface.events import Admitted, EngineEvent, Finished, Step
from app.engine.interface.params import DecodingParams, GenerationRequest, ReadCanvas, ReadRequest
from app.engine.models.adapters import Adapter, Change
from app.engine.models.base import FamilyModel
from app.engine.passes.runner import ModelRunner
from app.engine.passes.work import SequenceInput
from app.engine.recovery import CPU
from app.engine.request.read import ReadState
from app.engine.request.state import RequestState
from app.engine.thread import EngineThread
from tests.faults import FaultyRunner
from tests.strikes import Strike, struck_by
from tests.unit.engine.adapters import merged, write_whole_adapter
from tests.unit.engine.checkpoints import BLOCK_CHECKPOINTS, CHECKPOINTS
from tests.unit.engine.mixture import mixed_requests
from tests.unit.engine.test_thread import Listener

Events = dict[str, list[EngineEvent]]


def adapters_of(runner: ModelRunner, folder: Path, count: int = 3) -> list[Adapter]:
    folders = [write_whole_adapter(folder / str(seed), runner.model, seed=seed) for seed in range(count)]
    return [load_adapter(each, runner.model.config, runner.dtype) for each in folders]


def answered(
    runner: ModelRunner,
    requests: Sequence[GenerationRequest | ReadRequest],
    adapters: Sequence[Adapter | None],
    **config: Any,
) -> Events:
    """The events of all in one engine, without devices; request i has adapter i, from the first one on again."""
    engine, events = Engine(runner, EngineConfig(memory_threshold=1.0, **config)), Events()
    for number, request in enumerate(requests):
        sent = events.setdefault(request.request_id, [])
        adapter = adapters[number % len(adapters)]
        if isinstance(request, ReadRequest):
            engine.add(ReadState(request, runner.model.config, sent.append, adapter))
        else:
            engine.add(RequestState(request, runner.model.config, sent.append, adapter))
    while engine.has_work:
        engine.step()
    return {
        name: [replace(e, device="") if isinstance(e, Admitted | Finished) else e for e in sent]
        for name, sent in events.items()
    }


@pytest.mark.parametrize("name", ["llada-tiny", "dream-tiny", "dreamon-tiny", *BLOCK_CHECKPOINTS])
def test_a_request_with_an_adapter_gets_the_same_events_alone_and_in_any_batch(
    name: str, runners: Mapping[str, ModelRunner], tmp_path: Path
) -> None:
    """With caches, guidance, candidate lengths and revisions; beside the base and other adapters."""
    runner = runners[name]
    adapters = [None, *adapters_of(runner, tmp_path)]
    requests = mixed_requests(runner.model.config, seed=7, count=12)
    alone: Events = {}
    for number, request in enumerate(requests):
        alone |= answered(runner, [request], [adapters[number % len(adapters)]])
    assert answered(runner, requests, adapters) == alone
    assert answered(runner, requests, adapters, max_running=3) == alone


@pytest.fixture(params=[1, 2])
def num_threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """Threads of matrix products: how many rows there must be, for a row not to depend on them, hangs on that."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("runtime", ["auto", "torch"])
def test_reads_and_logprobs_through_an_adapter_are_the_same_alone_and_in_any_batch(
    runtime: RuntimeName, num_threads: int, runners: Mapping[str, ModelRunner], tmp_path: Path
) -> None:
    """Canvases have 1 to 22 tokens and a wanted row or two; they are read through two adapters and the base."""
    runner = ModelRunner(runners["llada-tiny"].model, cpu_runtime=runtime)
    adapters = [None, *adapters_of(runner, tmp_path, 2)]
    mask = runner.model.config.special.mask
    canvases = [ReadCanvas((mask, *range(5, 5 + 3 * n)), (0,), ((6, 7),)) for n in (0, 1, 2, 3, 4, 7)]
    canvases += [ReadCanvas((*range(40, 58), mask, 5, mask), (18, 20), ((6,), (7, 8)))]
    requests: list[GenerationRequest | ReadRequest] = [
        *(ReadRequest(f"read {number}", (canvas,), num_top=2) for number, canvas in enumerate(canvases)),
        ReadRequest("read all", tuple(canvases), num_top=2),
        *(GenerationRequest(f"text {n}", (5, 6), (), DecodingParams(n), num_logprobs=2) for n in (1, 4, 6)),
    ]
    for first in range(len(adapters)):
        of_requests = [adapters[(first + number) % len(adapters)] for number in range(len(requests))]
        alone: Events = {}
        for request, adapter in zip(requests, of_requests, strict=True):
            alone |= answered(runner, [request], [adapter])
        assert answered(runner, requests, of_requests) == alone


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("embedded-llada", DecodingParams(8, block_length=4)),
        ("embedded-llada", DecodingParams(8, block_length=4, cache="dual")),
        ("embedded-dreamon", DecodingParams(8, cache="dual")),
        ("sdar-tiny", DecodingParams(8)),
        ("fast-dllm-v2-tiny", DecodingParams(8)),
    ],
)
def test_text_is_that_of_merged_weights(
    name: str, params: DecodingParams, runners: Mapping[str, ModelRunner], tmp_path: Path
) -> None:
    """Greedy, where rounding decides nothing; its keys and values are cached as the adapter makes them."""
    runner = runners[name]
    (adapter,) = adapters_of(runner, tmp_path, 1)
    suffix = (70, 71) if family_named(runner.model.config.family).infills else ()
    request = GenerationRequest("a", tuple(range(40, 60)), suffix, params, num_logprobs=1)
    expected = answered(ModelRunner(merged(runner.model, tmp_path / "0"), cpu_runtime="torch"), [request], [None])
    adapted = answered(runner, [request], [adapter])
    assert text_of(adapted["a"]) == text_of(expected["a"])
    assert adapted != answered(runner, [request], [None]), "it changes probabilities, if not what is most probable"


def text_of(events: Sequence[EngineEvent]) -> list[int]:
    return [token_id for event in events if isinstance(event, Step) for token_id in event.new_final]


# -- moves and faults -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "runtime"), [("dreamon-tiny", "auto"), ("dreamon-tiny", "torch"), ("sdar-tiny", "auto")]
)
def test_an_adapter_goes_where_its_request_goes(
    name: str, runtime: RuntimeName, runners: Mapping[str, ModelRunner], tmp_path: Path
) -> None:
    """To the CPU in the middle of it, and with the weights once these leave the device."""
    runner = ModelRunner(runners[name].model, cpu_runtime=runtime)
    adapters = [None, *adapters_of(runner, tmp_path)]
    requests = mixed_requests(runner.model.config, seed=9, count=8)
    expected = answered(runner, requests, adapters, cpu_runtime=runtime)
    for after in (0, 3):
        device = FaultyRunner(runner.model, lambda number, _, after=after: number > after, runtime)  # type: ignore[misc]
        assert answered(device, requests, adapters, cpu_runtime=runtime) == expected
        assert device.num_passes > after, "it was struck"


def test_cached_keys_of_an_adapter_go_to_a_runner_of_graphs_too(
    runners: Mapping[str, ModelRunner], tmp_path: Path
) -> None:
    """The sequence goes on by modules there all the same."""
    model = runners["dreamon-tiny"].model
    (adapter,) = adapters_of(runners["dreamon-tiny"], tmp_path, 1)
    span = SequenceInput(range(20, 40), [6, 7], "a", ComputedSpan((5, 9)), adapter=adapter)
    logits = []
    with torch.inference_mode():
        for runtime in ("torch", "auto"):
            device, other = ModelRunner(model, cpu_runtime="torch"), ModelRunner(model, cpu_runtime=runtime)
            device.logits([replace(span.whole, ids=range(60, 80))])  # another text, so that keys anew are other keys
            device.hand_over(["a"], other)
            logits.append(other.logits([span]))
            assert other.cached_names() == {"a"}
    assert torch.equal(*logits)


@pytest.mark.parametrize("kind", ["device", "defect"])
def test_a_pass_that_fails_half_way_leaves_the_base_as_it_was(
    kind: str, runners: Mapping[str, ModelRunner], tmp_path: Path
) -> None:
    runner = ModelRunner(runners["llada-tiny"].model, cpu_runtime="torch")
    (adapter,) = adapters_of(runner, tmp_path, 1)
    sequence = SequenceInput(range(20), range(20))
    with torch.inference_mode():
        before = runner.logits([sequence])
        state = RequestState(
            GenerationRequest("a", (5, 6), (), DecodingParams(4)), runner.model.config, lambda _: None, adapter
        )
        state.start()
        with struck_by(Strike("layer", 2, kind)), pytest.raises(Exception, match=r"out of memory|kernel|fit"):
            runner.run([state.work])
        assert torch.equal(runner.logits([sequence]), before)


def test_matrices_on_the_device_go_with_the_adapter(runners: Mapping[str, ModelRunner], tmp_path: Path) -> None:
    model = runners["llada-tiny"].model
    runner = ModelRunner(model, cpu_runtime="torch")
    folder = write_whole_adapter(tmp_path, model)
    adapter = load_adapter(folder, model.config, torch.bfloat16)  # not the type in which it is computed: copied
    with torch.inference_mode():
        runner.logits([SequenceInput([5, 6], [0], adapter=adapter)])
    (placed,) = runner._forward._adapted._placed.values()  # type: ignore[attr-defined]
    matrix = weakref.ref(placed)
    del adapter, placed
    gc.collect()
    assert matrix() is None


# -- the thread -------------------------------------------------------------------------------------------------------


@pytest.fixture
def engine(runners: Mapping[str, ModelRunner]) -> Iterator[EngineThread]:
    thread = EngineThread(runners["llada-tiny"].model, EngineConfig())
    yield thread
    thread.close()


def test_a_thread_answers_with_the_adapter_that_a_request_names(
    engine: EngineThread, runners: Mapping[str, ModelRunner], tmp_path: Path
) -> None:
    adapter = engine.load_adapter("x", write_whole_adapter(tmp_path, engine.model))
    request = GenerationRequest("a", (5, 6), (), DecodingParams(4), adapter="x")
    listener = Listener()
    engine.submit(request, listener)
    text = text_of(listener.wait())
    assert text == text_of(answered(runners["llada-tiny"], [request], [adapter])["a"])


def test_an_adapter_that_is_not_there_is_refused_by_name(engine: EngineThread, tmp_path: Path) -> None:
    engine.load_adapter("x", write_whole_adapter(tmp_path, engine.model))
    engine.remove_adapter("x")
    with pytest.raises(InvalidRequest, match="the engine has no adapter 'x'"):
        engine.submit(GenerationRequest("a", (5,), (), DecodingParams(4), adapter="x"), lambda _: None)


def test_a_damaged_adapter_leaves_the_engine_at_work(engine: EngineThread, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"adapter_config\.json is missing"):
        engine.load_adapter("x", tmp_path)
    listener = Listener()
    engine.submit(GenerationRequest("a", (5,), (), DecodingParams(4)), listener)
    assert isinstance(listener.wait()[-1], Finished)


def test_a_request_that_runs_keeps_an_adapter_that_is_removed(engine: EngineThread, tmp_path: Path) -> None:
    engine.load_adapter("x", write_whole_adapter(tmp_path, engine.model))
    listener = Listener()
    engine.submit(GenerationRequest("a", (5,), (), DecodingParams(16), adapter="x"), listener)
    engine.remove_adapter("x")
    assert isinstance(listener.wait()[-1], Finished)


# -- what the base is made of -----------------------------------------------------------------------------------------


class Beside(torch.nn.Module):
    """A projection and a change beside it, as plainly as can be."""

    def __init__(self, projection: torch.nn.Module, change: Change) -> None:
        super().__init__()
        self.projection, self.change = projection, change

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.projection(x)
        return y + x @ self.change.down.T @ self.change.up.T


@pytest.mark.parametrize("scheme", ["int8", "nf4"])
@torch.inference_mode()
def test_an_adapter_is_added_to_the_products_of_a_quantised_base(scheme: QuantizationName, tmp_path: Path) -> None:
    model = load_model(CHECKPOINTS["dream-tiny"], CPU, torch.float32, scheme)
    adapter = load_adapter(write_adapter_for(model, tmp_path), model.config, torch.float32)
    runner = ModelRunner(model)
    sequences = [SequenceInput(range(5, 45), range(40)), SequenceInput(range(50, 60), range(10))]
    adapted = runner.logits([replace(sequence, adapter=adapter) for sequence in sequences])
    plain = copy.deepcopy(model)
    for name, change in adapter.changes.items():
        plain.set_submodule(name, Beside(plain.get_submodule(name), change))
    ids = [torch.tensor(sequence.ids) for sequence in sequences]
    expected = [plain.head(plain.hidden(each, torch.arange(len(each)), [len(each)])) for each in ids]
    shifted = torch.cat([torch.cat((logits[:1], logits[:-1])) for logits in expected])
    assert (adapted - shifted).abs().max() < 0.02 * shifted.std()
    alone = [runner.logits([replace(sequence, adapter=adapter)]) for sequence in sequences]
    assert torch.equal(adapted, torch.cat(alone))


def write_adapter_for(quantised: FamilyModel, folder: Path) -> Path:
    """Quantised projections have no shape of their own to make an adapter by."""
    with torch.device("meta"):
        unquantised = family_named(quantised.config.family).build(quantised.config)
    return write_whole_adapter(folder, unquantised)
