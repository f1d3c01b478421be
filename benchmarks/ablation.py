"""Measures each technique alone and with others, speed and quality: `python -m benchmarks.ablation`, from the root.

Speed is measured as in `benchmarks.speed`: one request and eight at once through the engine, in turns with the plain
loop. Quality is measured as in `benchmarks.quality`: held-out texts through the service, each figure beside its
difference from exact decoding. Exact variants are only checked to give the same tokens. The program prints tables, and
writes `results/ablation.json`. A technique is a line in one of the two lists.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from app.engine.decoding import sampling
from app.engine.families.checkpoint import load_model
from app.engine.interface.params import GenerationRequest
from app.engine.models.base import FamilyModel
from app.engine.passes.runner import ModelRunner
from app.engine.passes.work import SequenceInput
from app.text.tokenizer import Tokenizer
from benchmarks import machine, quality
from benchmarks.defaults import Variation
from benchmarks.runs import run_engine
from benchmarks.speed import AT_ONCE, HERE, MODELS, Workload, figures, num_written, workloads

LLADA: list[Variation] = [
    {},
    {"decoding": "balanced"},
    {"decoding": "fast"},
    {"cache": "prefix"},
    {"cache": "dual"},
    {"cache": "dual", "cache_refresh": 4},
    {"cache": "dual", "cache_refresh": 16},
    {"block_length": 8},
    {"block_length": 128},
    {"block_length": 8, "cache": "dual"},
    {"steps": 64},
    {"confidence_threshold": 0.9},
    {"confidence_threshold": 0.5},
    {"confidence_factor": 1.0},
    {"confidence_margin": 0.25},
    {"confidence_margin": 0.0},
    {"entropy_bound": 0.5},
    {"entropy_bound": 2.0},
    {"confidence_threshold": 0.5, "local_threshold": 0.3},
    {"confidence_threshold": 0.3, "stability_bound": 0.1},
    {"confidence_threshold": 0.3, "revoke_threshold": 0.5},
    {"cache": "dual", "cache_refresh": 4, "confidence_threshold": 0.5},
    {"cache": "dual", "cache_refresh": 4, "entropy_bound": 2.0},
    {"decoding": "fast", "confidence_factor": 1.0},
    {"decoding": "fast", "confidence_margin": 0.25},
    {"decoding": "fast", "confidence_margin": 0.0},
    {"decoding": "fast", "entropy_bound": 2.0},
    {"decoding": "fast", "steps": 64},
]
DREAMON: list[Variation] = [
    {},
    {"decoding": "balanced"},
    {"decoding": "fast"},
    {"cache": "dual"},
    {"cache": "dual", "cache_refresh": 4},
    {"cache": "dual", "cache_refresh": 16},
    {"confidence_threshold": 0.9},
    {"confidence_threshold": 0.7},
    {"confidence_threshold": 0.9, "local_threshold": 0.7},
    {"confidence_factor": 0.25},
    {"confidence_factor": 1.0},
    {"confidence_margin": 0.75},
    {"confidence_margin": 0.25},
    {"confidence_margin": 0.0},
    {"entropy_bound": 0.5},
    {"decoding": "fast", "confidence_threshold": 0.7},
    {"decoding": "fast", "confidence_factor": 0.25},
    {"decoding": "fast", "confidence_factor": 1.0},
    {"decoding": "fast", "confidence_margin": 0.75},
    {"decoding": "fast", "confidence_margin": 0.25},
    {"decoding": "fast", "confidence_margin": 0.0},
    {"decoding": "fast", "entropy_bound": 0.5},
]
NUM_SHORT = 3
"""The number of rows of each list in the short form: exact decoding and the presets."""


class EveryRowRunner(ModelRunner):
    """Computes the logits of every position, as the published loops do, and then takes the wanted ones."""

    def logits(self, sequences: Sequence[SequenceInput]) -> Tensor:
        everywhere = super().logits([replace(sequence, wanted=range(len(sequence.ids))) for sequence in sequences])
        starts = accumulate((len(sequence.ids) for sequence in sequences), initial=0)
        rows = [start + position for start, one in zip(starts, sequences, strict=False) for position in one.wanted]
        return everywhere[rows]


@dataclass(frozen=True, slots=True)
class Taken:
    """The result of a run, and its duration."""

    ids: list[list[int]]
    nfe: int
    seconds: float

    @property
    def num_tokens(self) -> int:
        return sum(map(len, self.ids))


def by_engine(runner: ModelRunner, requests: Sequence[GenerationRequest]) -> Taken:
    run = run_engine(runner, requests)
    return Taken(run.ids, run.nfe, sum(run.steps_s))


def by_sorting(runner: ModelRunner, requests: Sequence[GenerationRequest]) -> Taken:
    """The run of `by_engine` with a top-k and top-p that sort the whole vocabulary, as in the published loops."""
    with patch.object(sampling, "_only_the_best_count", return_value=False):
        return by_engine(runner, requests)


def by_plain_loop(workload: Workload, model: FamilyModel, request: GenerationRequest) -> Taken:
    started_s = time.perf_counter()
    decoded = workload.plain(model, request)
    duration_s = time.perf_counter() - started_s
    return Taken([decoded.ids[: num_written(decoded.ids, model.config.special.eos)]], decoded.nfe, duration_s)


def name_of(variation: Variation) -> str:
    return ", ".join(f"{parameter} {value}" for parameter, value in variation.items()) or "exact"


def requests_for(workload: Workload, tokenizer: Tokenizer, variation: Variation) -> list[GenerationRequest]:
    """Eight requests of the workload, with some parameters changed."""
    changed = replace(workload, params=workload.params.model_copy(update=variation))
    return [changed.request(tokenizer, variation.get("decoding", "exact"), number) for number in range(AT_ONCE)]


def measure_speed(workload: Workload, variations: Iterable[Variation], rounds: int) -> dict[str, dict[str, Any]]:
    """The speed of each variation by name, of the plain loop, and of exact decoding without its optimisations."""
    tokenizer = Tokenizer.load(MODELS / workload.model)
    runner = ModelRunner(load_model(MODELS / workload.model, torch.device("cpu"), torch.float32))
    exact, every_row = requests_for(workload, tokenizer, {}), EveryRowRunner(runner.model)
    jobs: dict[str, tuple[Callable[[Sequence[GenerationRequest]], Taken], list[GenerationRequest]]] = {
        "exact, vocabulary sorted": (partial(by_sorting, runner), exact),
        "exact, every row computed": (partial(by_engine, every_row), exact),
        "exact, both of these": (partial(by_sorting, every_row), exact),
        "exact, layers of torch modules": (partial(by_engine, ModelRunner(runner.model, cpu_runtime="torch")), exact),
    }
    for variation in variations:
        jobs[name_of(variation)] = (partial(by_engine, runner), requests_for(workload, tokenizer, variation))
    works = {"plain": partial(by_plain_loop, workload, runner.model, exact[0])}
    works |= {name: partial(engine, requests[:1]) for name, (engine, requests) in jobs.items()}
    rows = speed_rows(machine.interleaved(works, rounds))
    for name, (engine, requests) in jobs.items():
        together = engine(requests)
        rows[name]["tokens_per_s_of_eight"] = round(together.num_tokens / together.seconds, 1)
    return rows


def speed_rows(taken: dict[str, list[Taken]]) -> dict[str, dict[str, Any]]:
    plain, exact = taken["plain"], taken["exact"]
    plain_per_s = [max(one.num_tokens, 1) / one.seconds for one in plain]
    rows = {}
    for name, runs in taken.items():
        first, seconds = runs[0], [one.seconds for one in runs]
        rows[name] = figures(name, first.num_tokens, first.nfe, seconds, plain_per_s)
        rows[name]["tokens_of_exact"] = first.ids == exact[0].ids
    return rows


async def measure_quality(ask: quality.Ask, variations: Iterable[Variation]) -> dict[str, dict[str, dict[str, float]]]:
    """The figures of each variation by name, with their differences from exact decoding."""
    exact = await ask({})
    return {
        name_of(variation): quality.compared(await ask(variation) if variation else exact, exact)
        for variation in variations
    }


def show(title: str, rows: Sequence[dict[str, Any]]) -> None:
    judged = [name for name in rows[-1]["quality"] if name not in ("nfe", "tokens")]
    columns = ("tok/nfe", "x plain", "tok/s", "of eight")
    print(f"\n{title}\n{'':58}" + "".join(f"{column:>10}" for column in columns), end="")
    print("".join(f"{name:>28}" for name in judged))
    for row in rows:
        speeds = (row["tokens_per_forward"], row["speedup"], row["tokens_per_s"], row.get("tokens_per_s_of_eight", ""))
        cells = [row["quality"][name] for name in judged if row["quality"]]
        judged_cells = (f"{cell['mean']:.3f} {cell['difference']:+.3f} ±{cell['error']:.3f}" for cell in cells)
        is_part = row["system"].startswith("exact, ")
        same = "" if not is_part else "  the same tokens" if row["tokens_of_exact"] else "  OTHER TOKENS"
        print(f"{row['system']:58}" + "".join(f"{speed:>10}" for speed in speeds), end="")
        print("".join(f"{cell:>28}" for cell in judged_cells) + same, flush=True)


async def measure(count: int, rounds: int, num_rows: int | None) -> dict[str, list[dict[str, Any]]]:
    service = await quality.start_service()
    tables = {}
    by_name = {workload.name: workload for workload in workloads()}
    questions = quality.questions(service, count)
    for workload, variations, ask in zip(
        (by_name["llada, 128 tokens, sampled"], by_name["dreamon, gap, greedy"]),
        (LLADA, DREAMON),
        questions,
        strict=True,
    ):
        chosen = variations[:num_rows]
        judged = await measure_quality(ask, chosen)
        speeds = measure_speed(workload, chosen, rounds)
        tables[workload.name] = [{**row, "quality": judged.get(name, {})} for name, row in speeds.items()]
        show(workload.name, tables[workload.name])
    await service.close()
    return tables


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=16, help="texts to continue; three times as many lines to fill")
    parser.add_argument("--rounds", type=int, default=2, help="of one request; eight at once are run once")
    parser.add_argument("--short", action="store_true", help="exact decoding and the presets, two texts, one round")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "ablation.json")
    options = parser.parse_args()
    size = (2, 1, NUM_SHORT) if options.short else (options.count, options.rounds, None)
    tables = asyncio.run(measure(*size))
    options.output.write_text(
        json.dumps({"machine": machine.describe(), "dtype": "float32", **tables}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
