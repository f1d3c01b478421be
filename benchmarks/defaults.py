"""Judges the server's default parameters on the embedded models: `python -m benchmarks.defaults`, from the root.

The program calls the service in this process as the API does: held-out functions with a hidden line for `dreamon`,
held-out beginnings to continue for both models. It changes one default at a time, prints tables and writes
`results/defaults.json`. The texts are those of `training/`; missing ones are fetched.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.core.settings import DiffusionConfig
from app.services.diffusion.diffusion_service import DiffusionLLMService
from app.services.diffusion.models import GenerationResult
from training.bits import TextBaselines
from training.continuation import describe_texts
from training.evaluate import load_exported
from training.infilling import HiddenLine, hidden_lines, parses
from training.objectives import Language
from training.prepare import Corpus, load_corpus, prepare
from training.recipe import read_recipe

HERE = Path(__file__).parent
MODELS = HERE.parent / "backend" / "app" / "assets" / "models"
PROMPT_TOKENS = 16
NEW_TOKENS = 128
AT_ONCE = 8

Variation = dict[str, Any]
Row = dict[str, float]

CONTINUATION: list[Variation] = [
    {},
    *({"temperature": value} for value in (0.0, 0.4, 1.0)),
    *({"repetition_penalty": value} for value in (1.0, 1.2, 1.4)),
    {"top_p": 1.0},
]
LLADA_CONTINUATION: list[Variation] = [
    *CONTINUATION,
    *({"block_length": value} for value in (8, 16, 64, 128)),
    {"steps": NEW_TOKENS // 2},
]
DREAMON_CONTINUATION: list[Variation] = [*CONTINUATION, *({"initial_masks": value} for value in (8, 16, 64))]
INFILLING: list[Variation] = [
    {},
    *({"temperature": value} for value in (0.0, 0.4, 1.0)),
    *({"temperature": 0.0, "repetition_penalty": value} for value in (1.0, 1.2)),
    *({"temperature": 0.0, "initial_masks": value} for value in (4, 8, 32)),
    *({"temperature": 0.0, "algorithm": value} for value in ("maskgit_plus", "topk_margin")),
]


@dataclass(frozen=True)
class Texts:
    """Held-out texts, and an order-5 Witten-Bell model of the training text, which judges the written texts."""

    language: Language
    heldout: Corpus
    judge: TextBaselines


def read_texts(model: str) -> dict[str, Texts]:
    """The texts of each held-out part that the model has."""
    recipe = read_recipe(model, "cpu")
    network, tokenizer = load_exported(MODELS / model)
    folder = prepare(recipe, tokenizer)
    language = Language(tokenizer, network.config.special, recipe.data["kind"] == "python")
    train = load_corpus(folder / "train.npz")
    judge = TextBaselines([language.decode(train[i].tolist()) for i in range(len(train))])
    parts = {part: load_corpus(folder / f"{part}.npz") for part in ("heldout", "heldout-prose")}
    return {part: Texts(language, corpus, judge) for part, corpus in parts.items() if len(corpus)}


async def answers(calls: Sequence[Callable[[], Any]]) -> list[GenerationResult]:
    """The results of requests to the service, `AT_ONCE` of them at a time."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(call: Callable[[], Any]) -> GenerationResult:
        async with slots:
            result: GenerationResult = await call()
            return result

    return list(await asyncio.gather(*map(one, calls)))


def beginnings(texts: Texts, count: int) -> list[str]:
    """The first tokens of held-out documents that are long enough to be continued."""
    chosen = [i for i in range(len(texts.heldout)) if len(texts.heldout[i]) > 2 * PROMPT_TOKENS][:count]
    return [texts.language.decode(texts.heldout[i][:PROMPT_TOKENS].tolist()) for i in chosen]


async def continuation_row(
    service: DiffusionLLMService, model: str, texts: Texts, prompts: list[str], variation: Variation
) -> Row:
    def call(seed: int, prompt: str) -> Callable[[], Any]:
        fixed = {"model_id": model, "max_length": NEW_TOKENS, "seed": seed}
        return lambda: service.generate_stream(prompt, **fixed, **variation)

    results = await answers([call(seed, prompt) for seed, prompt in enumerate(prompts)])
    written = [result.text for result in results]
    ended = sum(result.metadata["finish_reason"] == "stop" for result in results)
    return {
        "judged_bits_per_byte": texts.judge.bits_per_byte_of(prompts, written),
        **describe_texts(written),
        "ends_by_itself": ended / len(results),
        "mean_tokens": _mean([result.tokens_generated for result in results]),
        "mean_nfe": _mean([result.metadata["denoising_steps"] for result in results]),
    }


async def infilling_row(service: DiffusionLLMService, cases: list[HiddenLine], variation: Variation) -> Row:
    def call(seed: int, case: HiddenLine) -> Callable[[], Any]:
        fixed = {"model_id": "dreamon", "max_length": 64, "seed": seed}
        return lambda: service.infill_stream(case.prefix, case.suffix, **fixed, **variation)

    results = await answers([call(seed, case) for seed, case in enumerate(cases)])
    pairs = list(zip(cases, [result.text for result in results], strict=True))
    return {
        "exact_match": _mean([case.line.strip() == text.strip() for case, text in pairs]),
        "parses": _mean([bool(text.strip()) and parses(case.completed(text)) for case, text in pairs]),
        "empty": _mean([not text.strip() for _, text in pairs]),
        "mean_nfe": _mean([result.metadata["denoising_steps"] for result in results]),
    }


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 4)


async def measure(count: int) -> dict[str, list[dict[str, Any]]]:
    service = DiffusionLLMService(DiffusionConfig(max_concurrent_requests=AT_ONCE, timeout_seconds=3600))
    await service.initialize()
    prose, code, mixed = *read_texts("llada").values(), *read_texts("dreamon").values()
    cases = hidden_lines(code.heldout, code.language, 2 * count)
    tables: dict[str, list[dict[str, Any]]] = {}
    for name, model, texts, variations in (
        ("llada continues prose", "llada", prose, LLADA_CONTINUATION),
        ("dreamon continues functions", "dreamon", code, DREAMON_CONTINUATION),
        ("dreamon continues prose", "dreamon", mixed, DREAMON_CONTINUATION),
    ):
        prompts = beginnings(texts, count)
        tables[name] = []
        for variation in variations:
            row = await continuation_row(service, model, texts, prompts, variation)
            _keep(tables[name], name, variation, row)
    tables["dreamon fills a hidden line"] = []
    for variation in INFILLING:
        row = await infilling_row(service, cases, variation)
        _keep(tables["dreamon fills a hidden line"], "dreamon fills a hidden line", variation, row)
    await service.close()
    return tables


def _keep(table: list[dict[str, Any]], name: str, variation: Variation, row: Row) -> None:
    if not table:
        print(f"\n{name}\n{'':34}" + "".join(f"{column.replace('_', ' ')[:16]:>18}" for column in row))
    changed = ", ".join(f"{parameter} {value}" for parameter, value in variation.items()) or "defaults"
    print(f"{changed:34}" + "".join(f"{value:18.3f}" for value in row.values()), flush=True)
    table.append({"changed": variation, **row})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=60, help="texts to continue; twice as many lines to fill")
    tables = asyncio.run(measure(parser.parse_args().count))
    (HERE / "results" / "defaults.json").write_text(json.dumps(tables, indent=2) + "\n")


if __name__ == "__main__":
    main()
