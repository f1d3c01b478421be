from __future__ import annotations

import time

import pytest
import torch

from app.engine.passes.work import SequenceInput
from benchmarks.adapters import NUM_ADAPTERS, merged, random_adapter, tokens_per_s, ways_of
from benchmarks.growth import Point, load_runner, requests_of


def test_every_way_writes_all_tokens() -> None:
    """All ends of the text are left out, so each request writes as many tokens as it may."""
    requests = requests_of(Point(8, 4, requests=NUM_ADAPTERS), [5, 6, 7], "fast")
    ways = ways_of(load_runner().model)
    assert {way.run(requests) for way in ways} == {4 * NUM_ADAPTERS}
    assert tokens_per_s(ways[0], requests, time.perf_counter) > 0


@torch.inference_mode()
def test_merged_weights_are_those_of_the_adapter() -> None:
    runner = load_runner()
    adapter = random_adapter(runner.model, seed=1)
    expected = runner.logits([SequenceInput([5, 6, 7], [0, 2], adapter=adapter)])
    runner.model = merged(runner.model, adapter)
    ids = torch.tensor([5, 6, 7])
    logits = runner.model.head(runner.model.hidden(ids, torch.arange(3), [3]))[[0, 2]]
    assert logits == pytest.approx(expected, abs=1e-3)
