"""Measures time and memory as requests grow: `python -m benchmarks.growth`, from the repository root.

Longer prompts, more new tokens and more requests at once are run with the presets and the plain loop, in turns. The
network is the embedded `llada` with a longer context than it was trained for, where its text is nonsense but its cost
is right. The end of the text is forbidden, so that every request takes all of its steps. Only the first steps of long
requests are run, with at least one whole cycle of every cache, and represent the rest. The program prints a table, and
writes `results/growth.json`, which `benchmarks.plots` draws.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from app.engine.device.memory import free_caches, held_bytes
from app.engine.families.checkpoint import load_model
from app.engine.interface.params import GenerationRequest
from app.engine.passes.runner import ModelRunner
from app.services.diffusion.families.llada import LLADA
from app.services.diffusion.models import DiffusionGenerationParams
from app.services.diffusion.native.decoding import decoding_params
from app.text.tokenizer import Tokenizer
from benchmarks import machine, plain
from benchmarks.runs import run_engine
from benchmarks.speed import HERE, MODELS, PRESETS, PROSE, SAMPLED

CONTEXT_LENGTH = 4096
MAX_STEPS = 128
"""The number of steps after which every preset has computed its whole canvas again: 16 blocks of 8, or 4 of 32."""
PLAIN_STEPS = 8
"""The number of steps of the plain loop, which all cost the same."""


@dataclass(frozen=True, slots=True)
class Point:
    """The size of the work at one point of the measurement."""

    prompt_tokens: int = 32
    new_tokens: int = 64
    requests: int = 1

    @property
    def num_steps(self) -> int:
        """The number of steps that the engine is measured for."""
        return min(self.new_tokens, MAX_STEPS)


AXES = {
    "prompt_tokens": [16, 64, 256, 1024],
    "new_tokens": [32, 64, 128, 256, 512, 1024],
    "requests": [1, 2, 4, 8, 16],
}
SHORT_AXES = {"prompt_tokens": [16, 128], "new_tokens": [32, 128], "requests": [1, 4]}


def load_runner() -> ModelRunner:
    model = load_model(MODELS / "llada", torch.device("cpu"), torch.float32)
    model.config = replace(model.config, context_length=CONTEXT_LENGTH)
    return ModelRunner(model)


def requests_of(point: Point, prompt: list[int], preset: str) -> list[GenerationRequest]:
    requests = []
    for seed in range(point.requests):
        fields = {"text": PROSE, "max_length": point.new_tokens, "decoding": preset, "seed": seed, **SAMPLED}
        params = decoding_params(LLADA, DiffusionGenerationParams.model_validate(fields))
        endless = replace(params, eos_never_predicted=True)
        requests.append(GenerationRequest(f"{preset} {seed}", tuple(prompt), (), endless))
    return requests


def works_of(point: Point, runner: ModelRunner, prompt: list[int]) -> dict[str, Callable[[], Any]]:
    """The works by name; each takes its number of steps, the plain loop those of one request."""
    works: dict[str, Callable[[], Any]] = {
        "plain": partial(
            plain.llada,
            runner.model,
            prompt,
            gen_length=point.new_tokens,
            block_length=point.new_tokens,
            steps=PLAIN_STEPS,
            temperature=SAMPLED["temperature"],
        )
    }
    for preset in PRESETS:
        requests = requests_of(point, prompt, preset)
        works[preset] = partial(run_engine, runner, requests, max_steps=point.num_steps)
    return works


def measure(point: Point, runner: ModelRunner, tokenizer: Tokenizer, rounds: int) -> list[dict[str, Any]]:
    ids = tokenizer.encode(PROSE)
    prompt = [ids[index % len(ids)] for index in range(point.prompt_tokens)]
    works = works_of(point, runner, prompt)
    more_bytes = {name: peak_of(work) for name, work in works.items()}
    rows = []
    for name, times in machine.interleaved_s(works, rounds).items():
        num_steps = PLAIN_STEPS if name == "plain" else point.num_steps
        step_s = statistics.median(times) / num_steps
        # The plain loop answers one request after the other.
        seconds = step_s * point.new_tokens * (point.requests if name == "plain" else 1)
        rows.append(
            {
                **asdict(point),
                "system": name,
                "steps_measured": num_steps,
                "ms_per_step": round(1e3 * step_s, 3),
                "seconds": round(seconds, 4),
                "tokens_per_s": round(point.requests * point.new_tokens / seconds, 1),
                "peak_mb": round(more_bytes[name] / 1e6, 1),
            }
        )
    return rows


def peak_of(work: Callable[[], Any]) -> int:
    """The largest number of bytes that the work takes in addition to those that the process held before."""
    free_caches("cpu")
    before_bytes = held_bytes("cpu")
    machine.reset_peak()
    work()
    return max(0, machine.peak_bytes() - before_bytes)


def show(axis: str, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        cells = (row["system"], row["ms_per_step"], row["seconds"], row["tokens_per_s"], row["peak_mb"])
        print(f"{row[axis]:16}" + "".join(f"{cell:>14}" for cell in cells), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--short", action="store_true", help="two points of each axis, one round")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "growth.json")
    options = parser.parse_args()
    runner, tokenizer = load_runner(), Tokenizer.load(MODELS / "llada")
    tables: dict[str, list[dict[str, Any]]] = {}
    for axis, values in (SHORT_AXES if options.short else AXES).items():
        columns = ("system", "ms/step", "seconds", "tokens/s", "peak MB")
        print(f"\n{axis.replace('_', ' '):16}" + "".join(f"{column:>14}" for column in columns))
        tables[axis] = []
        for value in values:
            point = replace(Point(), **{axis: value})
            tables[axis] += measure(point, runner, tokenizer, 1 if options.short else options.rounds)
            show(axis, tables[axis][-1 - len(PRESETS) :])
    report = {"machine": machine.describe(), "dtype": "float32", "axes": tables}
    options.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
