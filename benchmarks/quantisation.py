"""Measures the savings and costs of bfloat16 and quantised weights: `python -m benchmarks.quantisation`, from the root.

There are four parts: the memory of the published shapes, which is computed; the speed of one projection on one thread,
in its own CPU time, so that other work on the machine counts little; the predictions of masked tokens of held-out texts
by the embedded models; and their texts, with the figures of `benchmarks/quality.py`. Each figure of the last two comes
with its difference from float32. The program prints tables and writes `results/quantisation.json`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from app.core.settings import DiffusionConfig
from app.engine.device.devices import choose_dtype
from app.engine.families.build import build_model
from app.engine.families.checkpoint import load_model
from app.engine.families.weight_sizes import weight_sizes
from app.engine.interface.config import DTypeName, QuantizationName
from app.engine.models.quantisation import Int8Linear, Nf4Linear, quantise_rows
from app.engine.passes.runner import ModelRunner
from app.engine.passes.work import SequenceInput
from app.services.diffusion.diffusion_service import DiffusionLLMService
from benchmarks import machine
from benchmarks.defaults import AT_ONCE, MODELS, Texts, beginnings, read_texts
from benchmarks.quality import Figures, compared, continuations, infillings, show
from benchmarks.shapes import SHAPES
from training.infilling import hidden_lines

RESULTS = Path(__file__).parent / "results" / "quantisation.json"
SCHEMES: list[tuple[DTypeName, QuantizationName]] = [
    ("float32", "none"),
    ("bfloat16", "none"),
    ("float32", "int8"),
    ("float32", "nf4"),
    ("bfloat16", "nf4"),
]
"""The types and schemes; the first is the reference of the others."""
FORMS: tuple[QuantizationName, ...] = ("none", "int8", "nf4")
META = torch.device("meta")
PROJECTIONS = [(192, 576), (512, 192), (1024, 1024), (4096, 4096)]
ROWS = [8, 32, 128, 512]
CANVAS = 1024

Row = dict[str, Any]


def memory_rows() -> list[Row]:
    """The gigabytes of each published shape, and of a canvas of 1,024 tokens in addition, in bfloat16."""
    rows = []
    for name, raw_config in SHAPES["true"].items():
        with torch.device("meta"):
            runner = ModelRunner(build_model(raw_config).to(torch.bfloat16))
        weights = {
            f"{scheme}_gb": weight_sizes(runner.model, META, torch.bfloat16, scheme, {}).all / 1e9 for scheme in FORMS
        }
        canvas = {
            "layers_gb": runner.footprint.of_states(CANVAS) / 1e9,
            "logits_gb": runner.footprint.bytes_per_row * CANVAS / 1e9,
            "kept_gb": runner.footprint.cached(CANVAS) / 1e9,
        }
        rows.append({"model": name, "float32_gb": runner.memory_bytes * 2 / 1e9, **weights, **canvas})
    return rows


def product_rows(rounds: int) -> list[Row]:
    """The speed of one projection in 10^9 operations per second, by inputs, outputs and rows."""
    torch.set_num_threads(1)
    rows = []
    for num_inputs, num_outputs in PROJECTIONS:
        systems = _products(torch.randn(num_outputs, num_inputs) * num_inputs**-0.5)
        for num_rows in ROWS:
            x, operations = torch.randn(num_rows, num_inputs), 2 * num_rows * num_inputs * num_outputs
            repeats = max(1, min(100, 10**9 // operations))
            works = {name: partial(_cpu_s, product, x, repeats) for name, product in systems.items()}
            best = {name: min(times) for name, times in machine.interleaved(works, rounds).items()}
            speeds = {name: round(operations / cpu_s / 1e9, 1) for name, cpu_s in best.items()}
            rows.append({"inputs": num_inputs, "outputs": num_outputs, "rows": num_rows, **speeds})
            print("".join(f"{cell:>16}" for cell in rows[-1].values()), flush=True)
    return rows


def _products(weight: Tensor) -> dict[str, Callable[[Tensor], Tensor]]:
    """The products by name; all take float32 rows, which those in bfloat16 convert."""
    halved, int8 = weight.bfloat16(), Int8Linear(weight)
    numbers = int8.numbers().contiguous()
    nf4: nn.Module = Nf4Linear(weight)
    return {
        "float32": lambda x: F.linear(x, weight),
        "bfloat16": lambda x: F.linear(x.bfloat16(), halved),
        "int8": int8,
        "int8, not packed": lambda x: torch._int_mm(quantise_rows(x)[0], numbers) * int8.scales,
        "int8 as floats": lambda x: (x @ numbers.to(x.dtype)) * int8.scales,
        "nf4": nf4,
        "nf4 in bfloat16": lambda x: nf4(x.bfloat16()),
    }


@torch.inference_mode()
def _cpu_s(product: Callable[[Tensor], Tensor], x: Tensor, repeats: int) -> float:
    started = time.thread_time()
    for _ in range(repeats):
        product(x)
    return (time.thread_time() - started) / repeats


def predictions(model: str, texts: Texts, count: int, dtype: DTypeName, quantization: QuantizationName) -> Figures:
    """The figures of predicting every other token of held-out texts: bits, and whether the first choice is right."""
    cpu = torch.device("cpu")
    runner = ModelRunner(load_model(MODELS / model, cpu, choose_dtype(dtype, cpu), quantization), cpu_runtime="torch")
    figures: Figures = {"bits_per_token": [], "right": []}
    for number in range(count):
        truth = torch.tensor(texts.heldout[number].tolist())
        masked = range(1, len(truth), 2)
        ids = [runner.model.config.special.mask if i % 2 else int(token) for i, token in enumerate(truth)]
        with torch.inference_mode():
            logits = runner.logits([SequenceInput(ids, masked)]).float()
        wanted = truth[list(masked)]
        figures["bits_per_token"].append(float(F.cross_entropy(logits, wanted)) / math.log(2))
        figures["right"].append(float((logits.argmax(-1) == wanted).float().mean()))
    return figures


async def writings(count: int, prose: Texts, code: Texts, dtype: DTypeName, quantization: QuantizationName) -> Figures:
    """The figures of the texts that both models write, under one set of names."""
    config = DiffusionConfig(
        max_concurrent_requests=AT_ONCE, timeout_seconds=3600, dtype=dtype, quantization=quantization
    )
    service = DiffusionLLMService(config)
    await service.initialize()
    written = {
        "llada": await continuations(service, prose, beginnings(prose, count), {}),
        "dreamon": await infillings(service, hidden_lines(code.heldout, code.language, 3 * count), {}),
    }
    await service.close()
    return {f"{model} {name}": values for model, figures in written.items() for name, values in figures.items()}


def quality_rows(name: str, ask: Callable[[DTypeName, QuantizationName], Figures]) -> list[Row]:
    asked = [ask(*scheme) for scheme in SCHEMES]
    rows: list[Row] = []
    for (dtype, quantization), figures in zip(SCHEMES, asked, strict=True):
        scheme, row = {"dtype": dtype, "quantization": quantization}, compared(figures, asked[0])
        show(name, scheme, row, is_first=not rows)
        rows.append({**scheme, **row})
    return rows


def parts(count: int, rounds: int) -> Iterator[tuple[str, list[Row]]]:
    """The tables, one by one."""
    yield "memory", memory_rows()
    threads = torch.get_num_threads()
    yield "products", product_rows(rounds)
    torch.set_num_threads(threads)
    prose, code = read_texts("llada")["heldout"], read_texts("dreamon")["heldout"]
    for model, texts in (("llada", prose), ("dreamon", code)):
        name = f"{model} predicts"
        yield name, quality_rows(name, partial(predictions, model, texts, 4 * count))
    yield "written", quality_rows("written", lambda *scheme: asyncio.run(writings(count, prose, code, *scheme)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=48, help="texts to continue; three times as many lines to fill")
    parser.add_argument("--rounds", type=int, default=5, help="of the products")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    report: dict[str, Any] = {"machine": machine.describe()}
    for name, rows in parts(options.count, options.rounds):
        report[name] = rows
        options.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
