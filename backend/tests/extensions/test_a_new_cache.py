"""The cost of a new cache: the toy below, decoded by the engine, and the files that a cache touches."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pytest
import torch

import app.engine
from app.core.parameters import CacheName
from app.engine.cache.plan import Moment
from app.engine.cache.registry import BLOCK_CACHES, SPAN_CACHES
from app.engine.cache.span import WHOLE, ComputedSpan
from app.engine.families.checkpoint import load_model
from app.engine.interface.errors import InvalidRequest
from app.engine.interface.params import DecodingParams, GenerationRequest
from app.engine.passes.runner import ModelRunner
from app.engine.passes.work import SequenceInput
from tests.conformance import traces
from tests.unit.engine.checkpoints import CHECKPOINTS
from tests.unit.engine.mixture import mixed_requests

ENGINE = Path(app.engine.__path__[0])

# -- the toy -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DoublingCache:
    """Computes the whole canvas at steps 0, 1, 3, 7, … of a block and the block between these, for what was committed
    long ago changes less and less. `refresh` is the last step that is always whole."""

    refresh: int | None

    def span(self, moment: Moment) -> ComputedSpan | None:
        """See `CachePlan.span`."""
        is_due = (moment.step + 1) & moment.step == 0 or moment.step <= (self.refresh or 0)
        return WHOLE if is_due else ComputedSpan(moment.blocks[moment.block])


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one line that makes it known, for each kind of sampler that is to have it."""
    monkeypatch.setitem(BLOCK_CACHES, "doubling", DoublingCache)


@pytest.fixture(scope="module", params=["auto", "torch"])
def runner(request: pytest.FixtureRequest) -> ModelRunner:
    model = load_model(CHECKPOINTS["embedded-llada"], torch.device("cpu"), torch.float32)
    return ModelRunner(model, cpu_runtime=request.param)


def request_of(**params: object) -> GenerationRequest:
    return GenerationRequest("r", tuple(range(5, 45)), (), DecodingParams(16, **params))  # type: ignore[arg-type]


def answer(runner: ModelRunner, request: GenerationRequest) -> list[list[int]]:
    (trace,) = traces.run(runner, [request], together=True)
    assert runner.cached_names() == set(), "nothing stays cached of a request that is over"
    return trace.canvases


# -- behaviour ---------------------------------------------------------------------------------------------------------


def test_a_cache_that_computes_everything_gives_the_result_without_cache(runner: ModelRunner) -> None:
    plain = answer(runner, request_of(block_length=8))
    assert answer(runner, request_of(block_length=8, cache="doubling", cache_refresh=8)) == plain
    two_steps = {"block_length": 8, "steps": 4}  # steps 0 and 1 of each block, both whole
    assert answer(runner, request_of(**two_steps, cache="doubling")) == answer(runner, request_of(**two_steps))


def test_between_it_computes_less_and_still_writes_everything(
    runner: ModelRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[int] = []
    logits = ModelRunner.logits

    def counted(self: ModelRunner, sequences: list[SequenceInput]) -> torch.Tensor:
        computed.extend(end - start for start, end in (sequence.bounds for sequence in sequences))
        return logits(self, sequences)

    monkeypatch.setattr(ModelRunner, "logits", counted)
    canvases = answer(runner, request_of(block_length=8, cache="doubling", run_to_end=True))
    assert computed == [56, 56, 8, 56, 8, 8, 8, 56] * 2
    assert runner.model.config.special.mask not in canvases[-1]


def test_it_mixes_with_everything_in_a_batch(runner: ModelRunner) -> None:
    others = mixed_requests(runner.model.config, seed=3, count=5)
    request = request_of(block_length=8, cache="doubling")
    *_, together = traces.run(runner, [*others, request], together=True)
    assert together.canvases == answer(runner, request)


def test_a_family_without_it_refuses_it_by_name() -> None:
    runner = ModelRunner(load_model(CHECKPOINTS["dream-tiny"], torch.device("cpu"), torch.float32))
    with pytest.raises(InvalidRequest, match="cache='doubling' has no meaning for dream models; use 'dual'"):
        answer(runner, request_of(cache="doubling"))


# -- what it touches ---------------------------------------------------------------------------------------------------


PLANS: set[type] = {maker for maker in (*BLOCK_CACHES.values(), *SPAN_CACHES.values()) if isinstance(maker, type)}


@pytest.mark.parametrize("plan", sorted(PLANS, key=repr))
def test_a_cache_is_named_in_its_own_file_and_in_the_registry(plan: type) -> None:
    names = re.compile(rf"\b{plan.__name__}\b")
    files = {file.relative_to(ENGINE).as_posix() for file in ENGINE.rglob("*.py") if names.search(file.read_text())}
    assert files == {f"{plan.__module__.removeprefix('app.engine.').replace('.', '/')}.py", "cache/registry.py"}


def test_requests_may_name_every_cache_that_comes_with_the_engine() -> None:
    assert {*get_args(CacheName)} == ({*BLOCK_CACHES, *SPAN_CACHES} - {"doubling"})
