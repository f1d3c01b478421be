"""Measures a generation beside likelihoods: `python -m benchmarks.likelihood`, from the repository root.

The embedded `llada` continues a text by 64 tokens alone, beside one request for likelihoods and beside four, which go
on until it is over; and for as many samples the likelihoods alone. Passes of a likelihood have 128 tokens, as a server
has it, or 512. All is asked of a service in this process, the ways in turns. Seconds of processors are given too: on a
machine that others use, their ratios say what the clock cannot. The program prints medians, and writes
`results/likelihood.json`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from app.services.diffusion import DiffusionGenerationParams, DiffusionLLMService
from app.services.diffusion.likelihood import DiffusionLikelihoodParams
from app.services.diffusion.native.likelihood import PASS_TOKENS, Scoring
from benchmarks import machine
from benchmarks.read import SETTINGS, STATE

RESULTS = Path(__file__).parent / "results" / "likelihood.json"
WRITTEN = DiffusionGenerationParams(text=STATE, max_length=64, seed=1, ignore_eos=True)
BESIDE = (0, 1, 4)
SIZES = (PASS_TOKENS, 512)


def scored(num_samples: int, seed: int = 0) -> DiffusionLikelihoodParams:
    """A request for the likelihood of a text of 28 tokens behind as many."""
    return DiffusionLikelihoodParams(prefix=STATE, texts=[STATE], num_samples=num_samples, seed=seed)


async def finished(service: DiffusionLLMService, params: DiffusionLikelihoodParams) -> None:
    """Asks for likelihoods until their answer is there."""
    await service.likelihood(params)


async def writing_s(service: DiffusionLLMService, num_beside: int) -> tuple[float, float]:
    """Seconds of the generation, by the clock and of processors, beside so many requests that do not end before it."""
    beside = [asyncio.ensure_future(finished(service, scored(1024, seed))) for seed in range(num_beside)]
    await asyncio.sleep(0.5 if beside else 0.0)  # their masks are drawn by then
    start = time.perf_counter(), time.process_time()
    await service.generate_stream(WRITTEN)
    seconds = time.perf_counter() - start[0], time.process_time() - start[1]
    assert not any(each.done() for each in beside), "they were to last longer"
    for each in beside:
        each.cancel()
        with suppress(asyncio.CancelledError):
            await each
    return seconds


async def scoring_s(service: DiffusionLLMService) -> tuple[float, float]:
    """Seconds of 256 samples with nothing beside them."""
    start = time.perf_counter(), time.process_time()
    await service.likelihood(scored(256))
    return time.perf_counter() - start[0], time.process_time() - start[1]


async def measured(rounds: int) -> list[dict[str, Any]]:
    """A row for each size of pass."""
    service = DiffusionLLMService()
    await service.initialize(SETTINGS)
    times: dict[tuple[int, str], list[tuple[float, float]]] = {}
    for _ in range(rounds):
        for size in SIZES:
            Scoring.max_pass_tokens = size
            for num_beside in BESIDE:
                times.setdefault((size, f"beside {num_beside}"), []).append(await writing_s(service, num_beside))
            times.setdefault((size, "256 samples alone"), []).append(await scoring_s(service))
    await service.close()
    medians = {key: [statistics.median(column) for column in zip(*each, strict=True)] for key, each in times.items()}
    return [
        {"tokens_a_pass": size, "way": way, "seconds": clock, "processor_seconds": processors}
        | {"ratio": clock / medians[size, "beside 0"][0], "processor_ratio": processors / medians[size, "beside 0"][1]}
        for (size, way), (clock, processors) in medians.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULTS)
    given = parser.parse_args()
    rows = asyncio.run(measured(given.rounds))
    for row in rows:
        print("  ".join(f"{value:.2f}" if isinstance(value, float) else str(value) for value in row.values()))
    given.output.write_text(json.dumps({"machine": machine.describe(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
