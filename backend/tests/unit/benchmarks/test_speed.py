from __future__ import annotations

from typing import Any

import pytest
import torch

from app.engine.families.checkpoint import load_model
from app.engine.passes.runner import ModelRunner
from app.services.diffusion.models import DiffusionGenerationParams, DiffusionInfillingParams
from app.text.tokenizer import Tokenizer
from benchmarks import machine, plain
from benchmarks.runs import run_engine
from benchmarks.speed import GREEDY, MODELS, SAMPLED, Workload, measure, show


def generating(model: str, num_tokens: int, sampling: dict[str, Any]) -> Workload:
    params = DiffusionGenerationParams(text="The morning after the ball", max_length=num_tokens, **sampling)
    return Workload("short", model, params)


def infilling(sampling: dict[str, Any]) -> Workload:
    params = DiffusionInfillingParams(prefix="def f(a, b):\n", suffix="\n    return c\n", max_length=24, **sampling)
    return Workload("short", "dreamon", params)


@pytest.mark.parametrize("workload", [generating("llada", 32, GREEDY), infilling(GREEDY)], ids=["llada", "dreamon"])
def test_the_engine_writes_what_the_plain_loop_writes(workload: Workload) -> None:
    tokenizer = Tokenizer.load(MODELS / workload.model)
    runner = ModelRunner(load_model(MODELS / workload.model, torch.device("cpu"), torch.float32))
    request = workload.request(tokenizer, "exact")
    decoded = workload.plain(runner.model, request)
    run = run_engine(runner, [request])
    eos = runner.model.config.special.eos
    written = decoded.ids[: decoded.ids.index(eos)] if eos in decoded.ids else decoded.ids
    assert run.ids == [written]
    assert run.nfe <= decoded.nfe


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_plain_sampling_stays_within_its_filters(temperature: float) -> None:
    logits = torch.randn(20, 50, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    _, tokens = plain.sample_tokens(logits, temperature=temperature, top_p=0.9, top_k=3, generator=generator)
    best = logits.topk(3).indices
    assert all(token in row for token, row in zip(tokens.tolist(), best.tolist(), strict=True))


@pytest.mark.thorough
@pytest.mark.parametrize("workload", [generating("llada", 32, SAMPLED), infilling(SAMPLED)], ids=["llada", "dreamon"])
def test_a_measurement_has_every_system(workload: Workload, capsys: pytest.CaptureFixture[str]) -> None:
    row = measure(workload, rounds=1)
    names = {system["system"] for system in row["systems"]}
    presets = {"exact", "balanced", "fast"}
    assert names == {"plain", *presets, *(f"{preset}, 8 at once" for preset in presets)}
    assert all(system["nfe"] > 0 and system["speedup"] > 0 for system in row["systems"])
    show(row)
    assert "balanced, 8 at once" in capsys.readouterr().out


def test_the_machine_is_described() -> None:
    told = machine.describe()
    assert told["threads"] == torch.get_num_threads()
    assert machine.limits()["float32_gflops"] > 0
