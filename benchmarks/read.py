"""Measures reading: `python -m benchmarks.read`, from the repository root.

Reads of a short frame and of one with eight questions: 64 one after the other, beside as many forward passes of its
canvas; 64 at the same time, beside the fewest passes that take all canvases. Reads are asked of a service in this
process, so what HTTP costs is no part of it. The ways are taken in turns; the program prints medians, and writes
`results/read.json`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from app.engine.families.checkpoint import load_model
from app.engine.passes.runner import ModelRunner
from app.engine.passes.work import SequenceInput
from app.services.diffusion import DiffusionLLMService
from app.services.diffusion.families.registry import text_family
from app.services.diffusion.native.reading import reading_of
from app.services.diffusion.reading import DiffusionReadParams
from app.text.tokenizer import Tokenizer
from benchmarks import machine
from benchmarks.speed import MODELS

RESULTS = Path(__file__).parent / "results" / "read.json"
NUM_TOGETHER = 64
MAX_PASS_TOKENS = 2048
"""The tokens of one pass of reads."""
SETTINGS = {
    "model_fallback": False,
    "device_preference": "cpu",
    "preload": "default",
    "default_model": "llada",
    "max_concurrent_requests": NUM_TOGETHER,
}
STATE = "It was a truth universally acknowledged, that a single man must be in want of a wife. "


def frame(num_questions: int) -> DiffusionReadParams:
    """A text with so many questions, each with a hole for `y` or `n`."""
    parts: list[Any] = [STATE * 2] if num_questions > 1 else []
    for number in range(num_questions):
        parts += [f" Question {number}: is it so? ", {"hole": f"q{number}", "choices": ["y", "n"]}]
    return DiffusionReadParams.model_validate({"parts": parts})


def sequence_of(params: DiffusionReadParams, runner: ModelRunner, tokenizer: Tokenizer) -> SequenceInput:
    """The one canvas of a read."""
    config = runner.model.config
    reading = reading_of(params, text_family("llada"), tokenizer, config.special.mask, config.context_length)
    (canvas,) = reading.canvases
    return SequenceInput(canvas.ids, canvas.positions)


def ways_of(
    loop: asyncio.AbstractEventLoop, service: DiffusionLLMService, runner: ModelRunner, params: DiffusionReadParams
) -> dict[str, Callable[[], object]]:
    """The ways to read 64 times, and the passes that they need."""
    sequence = sequence_of(params, runner, Tokenizer.load(MODELS / "llada"))
    num_a_pass = max(MAX_PASS_TOKENS // len(sequence.ids), 1)
    parts = [min(num_a_pass, NUM_TOGETHER - done) for done in range(0, NUM_TOGETHER, num_a_pass)]

    async def read() -> None:
        await service.read(params)

    async def in_turns() -> None:
        for _ in range(NUM_TOGETHER):
            await read()

    async def together() -> None:
        await asyncio.gather(*(read() for _ in range(NUM_TOGETHER)))

    def passes(sizes: list[int]) -> None:
        with torch.inference_mode():
            for size in sizes:
                runner.logits([sequence] * size)

    return {
        "64 reads in turns": lambda: loop.run_until_complete(in_turns()),
        "64 reads together": lambda: loop.run_until_complete(together()),
        "64 passes": partial(passes, [1] * NUM_TOGETHER),
        "passes of all 64": partial(passes, parts),
    }


def measure(
    loop: asyncio.AbstractEventLoop, service: DiffusionLLMService, runner: ModelRunner, num_questions: int, rounds: int
) -> dict[str, Any]:
    """Medians in milliseconds, and the three ratios."""
    times = machine.interleaved_s(ways_of(loop, service, runner, frame(num_questions)), rounds)
    return {
        "questions": num_questions,
        "ms": {name: round(statistics.median(each) * 1e3, 2) for name, each in times.items()},
        "read_to_pass": round(machine.median_ratio(times["64 reads in turns"], times["64 passes"]), 2),
        "together_gain": round(machine.median_ratio(times["64 reads in turns"], times["64 reads together"]), 2),
        "passes_gain": round(machine.median_ratio(times["64 passes"], times["passes of all 64"]), 2),
    }


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    runner = ModelRunner(load_model(MODELS / "llada", torch.device("cpu"), torch.float32))
    service, loop = DiffusionLLMService(), asyncio.new_event_loop()
    loop.run_until_complete(service.initialize(SETTINGS))
    rows = [measure(loop, service, runner, num_questions, rounds) for num_questions in (1, 8)]
    loop.run_until_complete(service.close())
    for row in rows:
        print(json.dumps(row))
    RESULTS.write_text(json.dumps({"machine": machine.describe(), "rounds": rounds, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
