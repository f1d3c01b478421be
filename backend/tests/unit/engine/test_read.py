"""Canvases that are read: their numbers, their passes, and what runs beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from app.engine.engine import Engine
from app.engine.families.adapter import load_adapter
from app.engine.interface.config import EngineConfig
from app.engine.interface.errors import InvalidRequest
from app.engine.interface.events import Cancelled, CanvasesRead, EngineEvent, Finished
from app.engine.interface.params import ReadCanvas, ReadRequest
from app.engine.models.adapters import Adapter
from app.engine.models.attention import BlockCausal
from app.engine.models.base import FamilyModel
from app.engine.passes.runner import ModelRunner
from app.engine.request.read import ReadState
from app.engine.request.state import RequestState
from tests.conformance import traces
from tests.unit.engine.adapters import merged, write_whole_adapter
from tests.unit.engine.checkpoints import BLOCK_CHECKPOINTS, BY_MODULES, CHECKPOINTS
from tests.unit.engine.mixture import mixed_requests

checkpoints = pytest.mark.parametrize("name", [*CHECKPOINTS, *BY_MODULES])


def reads(mask: int, name: str = "read", **changes: Any) -> ReadRequest:
    """Two canvases with masks at the beginning, inside and at the end, of more than one block."""
    first = ReadCanvas((5, mask, 7, mask, 9, 6, 5, 8, 7, mask), (1, 3, 9), ((5,), (6, 7, 8), ()))
    second = ReadCanvas((mask, 6, mask), (0, 2), ((9,), (5, 6)))
    return ReadRequest(name, (first, second), **{"num_top": 3, **changes})


def answered(runner: ModelRunner, *requests: ReadRequest, adapter: Adapter | None = None) -> list[CanvasesRead]:
    engine, events = Engine(runner, EngineConfig()), list[EngineEvent]()
    for request in requests:
        engine.add(ReadState(request, runner.model.config, events.append, adapter))
    while engine.has_work:
        engine.step()
    return [event for event in events if isinstance(event, CanvasesRead)]


@torch.inference_mode()
def plain_logprobs(model: FamilyModel, canvas: ReadCanvas) -> torch.Tensor:
    """log-softmax [R, V] of one forward pass over one canvas alone, by the model's modules."""
    config, length = model.config, len(canvas.ids)
    variants = [] if config.block_length is None else [BlockCausal(0, length, config.block_length, torch.device("cpu"))]
    states = model.hidden(torch.tensor(canvas.ids), torch.arange(length), [length], None, variants)
    rows = [max(position - config.prediction_shift, 0) for position in canvas.positions]
    return model.head(states[rows]).log_softmax(-1)


@checkpoints
def test_what_is_read_is_the_softmax_of_a_plain_pass(name: str, runners: Mapping[str, ModelRunner]) -> None:
    runner = runners[name]
    request = reads(runner.model.config.special.mask)
    (answer,) = answered(runner, request)
    rows = iter(answer.positions)
    for canvas in request.canvases:
        for ids, plain in zip(canvas.scored_ids, plain_logprobs(runner.model, canvas), strict=True):
            row = next(rows)
            assert row.scored == pytest.approx(plain[list(ids)].tolist(), abs=1e-4)
            assert [logprob for _, logprob in row.top] == pytest.approx(plain.topk(3).values.tolist(), abs=1e-4)


@checkpoints
def test_a_read_is_the_same_alone_and_beside_others_and_changes_none_of_their_events(
    name: str, runners: Mapping[str, ModelRunner]
) -> None:
    runner = runners[name]
    requests = mixed_requests(runner.model.config, seed=5, count=4)
    alone = {
        r.request_id: t.events for r, t in zip(requests, traces.run(runner, requests, together=False), strict=True)
    }
    wanted = reads(runner.model.config.special.mask)
    (read_alone,) = answered(runner, wanted)
    engine, events, told = Engine(runner, EngineConfig()), dict[str, list[EngineEvent]](), list[EngineEvent]()
    for number, request in enumerate(requests):
        events[request.request_id] = []
        engine.add(RequestState(request, runner.model.config, events[request.request_id].append))
        engine.add(ReadState(replace(wanted, request_id=f"read {number}"), runner.model.config, told.append))
        engine.step()
    while engine.has_work:
        engine.step()
    assert events == alone
    assert [e.positions for e in told if isinstance(e, CanvasesRead)] == [read_alone.positions] * len(requests)


@pytest.mark.parametrize("name", BLOCK_CHECKPOINTS)
def test_a_block_causal_model_reads_a_hole_without_the_text_behind_its_block(
    name: str, runners: Mapping[str, ModelRunner]
) -> None:
    config = runners[name].model.config
    assert config.block_length is not None
    block = (5, config.special.mask, *(7,) * (config.block_length - 2))
    first, second = (ReadCanvas((*block, *behind), (1,), ((6, 7),)) for behind in ((5, 6, 7), (8, 9)))
    (answer,) = answered(runners[name], ReadRequest("r", (first, second)))
    assert answer.positions[0].scored == pytest.approx(answer.positions[1].scored, abs=1e-5)


@pytest.mark.parametrize("name", ["llada-tiny", "dream-tiny", "sdar-tiny", "llada-tiny by modules"])
def test_an_adapter_reads_as_the_model_with_merged_weights(
    name: str, runners: Mapping[str, ModelRunner], tmp_path: Path
) -> None:
    runner = runners[name]
    folder = write_whole_adapter(tmp_path, runner.model)
    adapter = load_adapter(folder, runner.model.config, runner.dtype)
    request = reads(runner.model.config.special.mask)
    (answer,) = answered(runner, request, adapter=adapter)
    plain = plain_logprobs(merged(runner.model, folder), request.canvases[0])
    assert answer.positions[1].scored == pytest.approx(plain[1, [6, 7, 8]].tolist(), abs=1e-3)


def test_canvases_that_fill_more_than_one_pass_are_read_in_several(llada: ModelRunner) -> None:
    request = reads(llada.model.config.special.mask)
    (whole,) = answered(llada, request)
    request = replace(request, max_pass_tokens=10)
    engine, events = Engine(llada, EngineConfig()), list[EngineEvent]()
    engine.add(ReadState(request, llada.model.config, events.append))
    while engine.has_work:
        engine.step()
    assert events[1] == whole
    assert isinstance(events[-1], Finished)
    assert events[-1].nfe == 2


def test_many_reads_share_one_pass(llada: ModelRunner) -> None:
    engine = Engine(llada, EngineConfig())
    for number in range(20):
        engine.add(ReadState(reads(llada.model.config.special.mask, str(number)), llada.model.config, lambda _: None))
    while engine.has_work:
        engine.step()
    assert engine.recovery.counters.num_passes == 1


def test_a_read_that_is_given_up_is_not_answered(llada: ModelRunner) -> None:
    engine, events = Engine(llada, EngineConfig()), list[EngineEvent]()
    engine.add(ReadState(reads(llada.model.config.special.mask), llada.model.config, events.append))
    engine.abort("read")
    assert not engine.has_work
    assert events == [Cancelled("read", 0)]


@pytest.mark.parametrize(
    ("canvases", "complaint"),
    [
        ((), "no canvas"),
        ((ReadCanvas((5,) * 10_000, (0,), ((),)),), "exceeds the context"),
        ((ReadCanvas((5, 6), (2,), ((),)),), "outside a canvas"),
        ((ReadCanvas((5, 6), (1,), ((9_999_999,),)),), "outside the vocabulary"),
        ((ReadCanvas((5, 6), (), ()),), "needs a position"),
    ],
)
def test_a_canvas_that_cannot_be_read_is_refused(
    canvases: tuple[ReadCanvas, ...], complaint: str, llada: ModelRunner
) -> None:
    with pytest.raises(InvalidRequest, match=complaint):
        ReadState(ReadRequest("r", canvases), llada.model.config, lambda _: None)
