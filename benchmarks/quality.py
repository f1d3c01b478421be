"""Measures the quality that approximate decoding costs: `python -m benchmarks.quality`, from the repository root.

The service answers with each preset of `decoding`, and with each part of the presets alone, for the same held-out texts
and seeds: `llada` continues prose, `dreamon` fills hidden lines of functions. Each figure comes with its mean
difference from exact decoding, text by text, and the standard error of that. The program prints tables and writes
`results/quality.json`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from difflib import SequenceMatcher
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from app.core.settings import DiffusionConfig
from app.services.diffusion.diffusion_service import DiffusionLLMService
from app.services.diffusion.models import GenerationResult
from benchmarks import machine
from benchmarks.defaults import AT_ONCE, Texts, Variation, answers, beginnings, read_texts
from training.continuation import distinct, is_degenerate
from training.infilling import HiddenLine, hidden_lines, parses

HERE = Path(__file__).parent
NEW_TOKENS = 128

Figures = dict[str, list[float]]
"""The figures by name, with one value per text."""
Ask = Callable[[Variation], Awaitable[Figures]]

CONTINUATION: list[Variation] = [
    {},
    {"decoding": "balanced"},
    {"decoding": "fast"},
    {"cache": "prefix"},
    {"cache": "dual"},
    {"block_length": 8},
    {"block_length": 8, "cache": "dual"},
    {"steps": NEW_TOKENS // 2},
    {"confidence_threshold": 0.5},
]
INFILLING: list[Variation] = [
    {},
    {"decoding": "balanced"},
    {"decoding": "fast"},
    {"cache": "dual"},
    {"cache": "dual", "cache_refresh": 4},
    {"confidence_threshold": 0.9},
    {"confidence_threshold": 0.7},
]


async def continuations(
    service: DiffusionLLMService, texts: Texts, prompts: Sequence[str], variation: Variation
) -> Figures:
    def call(seed: int, prompt: str) -> Callable[[], Any]:
        fixed = {"model_id": "llada", "max_length": NEW_TOKENS, "seed": seed}
        return lambda: service.generate_stream(prompt, **fixed, **variation)

    results = await answers([call(seed, prompt) for seed, prompt in enumerate(prompts)])
    written = [result.text for result in results]
    judged = [texts.judge.bits_per_byte_of([p], [w]) if w else 0.0 for p, w in zip(prompts, written, strict=True)]
    return {
        "judged_bits_per_byte": judged,
        "distinct_2": [distinct([text], 2) for text in written],
        "degenerate": [float(is_degenerate(text)) for text in written],
        **_counts(results),
    }


async def infillings(service: DiffusionLLMService, cases: Sequence[HiddenLine], variation: Variation) -> Figures:
    def call(case: HiddenLine) -> Callable[[], Any]:
        greedy = {"model_id": "dreamon", "max_length": 64, "temperature": 0.0, "repetition_penalty": 1.0}
        return lambda: service.infill_stream(case.prefix, case.suffix, **{**greedy, **variation})

    results = await answers([call(case) for case in cases])
    pairs = list(zip(cases, [result.text for result in results], strict=True))
    return {
        "exact_match": [float(case.line.strip() == text.strip()) for case, text in pairs],
        "similarity": [SequenceMatcher(None, case.line.strip(), text.strip(), False).ratio() for case, text in pairs],
        "parses": [float(bool(text.strip()) and parses(case.completed(text))) for case, text in pairs],
        **_counts(results),
    }


def _counts(results: Sequence[GenerationResult]) -> Figures:
    return {
        "nfe": [float(result.metadata["denoising_steps"]) for result in results],
        "tokens": [float(result.tokens_generated) for result in results],
    }


def compared(figures: Figures, exact: Figures) -> dict[str, dict[str, float]]:
    """The mean of each figure, its mean difference from exact decoding, and the standard error of the difference."""
    rows = {}
    for name, values in figures.items():
        differences = np.array(values) - np.array(exact[name])
        rows[name] = {
            "mean": round(float(np.mean(values)), 4),
            "difference": round(float(differences.mean()), 4),
            "error": round(float(differences.std() / np.sqrt(len(differences))), 4),
        }
    return rows


def show(name: str, variation: Variation, rows: dict[str, dict[str, float]], is_first: bool) -> None:
    if is_first:
        print(f"\n{name}\n{'':34}" + "".join(f"{column:>26}" for column in rows))
    changed = ", ".join(f"{parameter} {value}" for parameter, value in variation.items()) or "exact"
    cells = (f"{row['mean']:10.3f} {row['difference']:+7.3f} ±{row['error']:.3f}" for row in rows.values())
    print(f"{changed:34}" + "".join(f"{cell:>26}" for cell in cells), flush=True)


async def start_service() -> DiffusionLLMService:
    service = DiffusionLLMService(DiffusionConfig(max_concurrent_requests=AT_ONCE, timeout_seconds=3600))
    await service.initialize()
    return service


def questions(service: DiffusionLLMService, count: int) -> tuple[Ask, Ask]:
    """The functions that ask `llada` and `dreamon`."""
    prose, code = read_texts("llada")["heldout"], read_texts("dreamon")["heldout"]
    prompts, cases = beginnings(prose, count), hidden_lines(code.heldout, code.language, 3 * count)
    return partial(continuations, service, prose, prompts), partial(infillings, service, cases)


async def measure(count: int) -> dict[str, list[dict[str, Any]]]:
    service = await start_service()
    continues, infills = questions(service, count)
    tables: dict[str, list[dict[str, Any]]] = {}
    asked: list[tuple[str, list[Variation], Ask]] = [
        ("llada continues prose", CONTINUATION, continues),
        ("dreamon fills a hidden line", INFILLING, infills),
    ]
    for name, variations, ask in asked:
        tables[name], exact = [], await ask({})
        for variation in variations:
            rows = compared(await ask(variation) if variation else exact, exact)
            show(name, variation, rows, is_first=not variation)
            tables[name].append({"changed": variation, **rows})
    await service.close()
    return tables


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=60, help="texts to continue; three times as many lines to fill")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "quality.json")
    options = parser.parse_args()
    tables = asyncio.run(measure(options.count))
    options.output.write_text(json.dumps({"machine": machine.describe(), **tables}, indent=1) + "\n")


if __name__ == "__main__":
    main()
