"""Adapters in passes: against merged weights, and alone against a batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from app.engine.families.adapter import load_adapter
from app.engine.models.adapters import Adapter
from app.engine.passes.runner import ModelRunner
from app.engine.passes.work import SequenceInput
from tests.unit.engine.adapters import merged, write_whole_adapter
from tests.unit.engine.checkpoints import CHECKPOINTS
from tests.unit.engine.mixture import mixed_requests

checkpoints = pytest.mark.parametrize("name", [*CHECKPOINTS])


def adapter_of(runner: ModelRunner, folder: Path, seed: int = 0) -> Adapter:
    return load_adapter(write_whole_adapter(folder, runner.model, seed=seed), runner.model.config, runner.dtype)


def some_sequences(runner: ModelRunner, count: int = 6) -> list[SequenceInput]:
    texts = [(*request.prefix, *request.suffix) for request in mixed_requests(runner.model.config, 1, count)]
    return [SequenceInput(text, range(0, len(text), index % 3 + 1)) for index, text in enumerate(texts)]


@checkpoints
@torch.inference_mode()
def test_an_adapter_gives_what_merged_weights_give(
    name: str, runners: Mapping[str, ModelRunner], tmp_path: Path
) -> None:
    runner = runners[name]
    adapter = adapter_of(runner, tmp_path)
    expected = ModelRunner(merged(runner.model, tmp_path), cpu_runtime="torch").logits(some_sequences(runner))
    adapted = runner.logits([replace(sequence, adapter=adapter) for sequence in some_sequences(runner)])
    torch.testing.assert_close(adapted, expected, atol=2e-4, rtol=1e-3)
    assert not torch.allclose(adapted, runner.logits(some_sequences(runner)), atol=1e-2)


@checkpoints
@torch.inference_mode()
def test_a_row_is_the_same_to_the_bit_alone_and_among_other_adapters(
    name: str, runners: Mapping[str, ModelRunner], tmp_path: Path
) -> None:
    runner = runners[name]
    adapters = [None, *(adapter_of(runner, tmp_path / str(seed), seed) for seed in range(3))]
    sequences = [
        replace(sequence, adapter=adapters[index % len(adapters)])
        for index, sequence in enumerate(some_sequences(runner, 12))
    ]
    together = torch.split(runner.logits(sequences), [sequence.num_rows for sequence in sequences])
    for sequence, part in zip(sequences, together, strict=True):
        assert torch.equal(runner.logits([sequence]), part)
