"""Measures a denoising step of published models on a CPU, from a few layers of their true width:

    python -m benchmarks.true_width --models llada-8b sdar-1.7b

Checkpoints of random weights are made on the spot, with two depths for each model. A step denoises 160 tokens: all of
them (the 32 of a block wanted), or a window of 32 or 8 beside the cached keys of the others; the choice of tokens is
part of it. What a layer costs, and what all else does, follows from the two depths, and so does the step of the whole
model, which is never built:

    layer = (step of 4 layers - step of 2) / 2        whole = step of 2 layers + (layers of the model - 2) · layer

The settings of the engine, and llama.cpp's diffusion example where it is given (`--cli`, for LLaDA and Dream), take
turns, and a sample counts only while nobody else uses the processor (`quiet.py`). The program prints seconds by the
clock and of the processor, and writes `results/true_width.json`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from app.engine.cache.span import ComputedSpan
from app.engine.decoding.rules import LogitRules, Score
from app.engine.device.devices import choose_dtype
from app.engine.families.build import build_model
from app.engine.families.checkpoint import load_model
from app.engine.interface.config import DTypeName, QuantizationName
from app.engine.models.base import ModelConfig
from app.engine.passes.runner import ModelRunner
from app.engine.passes.work import SequenceInput, Work
from benchmarks import machine
from benchmarks.few_layers import depth_of, write_depths
from benchmarks.few_layers_gguf import ARCHITECTURES, write_gguf
from benchmarks.llama_cpp import steps_s
from benchmarks.quiet import MOST_OTHERS, PATIENCE_S, Gate, Timing, timed
from benchmarks.shapes import BLOCK_CAUSAL, DREAMON_7B, LLADA_8B

MODELS: dict[str, dict[str, Any]] = {
    "llada-8b": LLADA_8B,
    "dreamon-7b": DREAMON_7B,
    "sdar-1.7b": BLOCK_CAUSAL["sdar-1.7b"],
    "sdar-4b": BLOCK_CAUSAL["sdar-4b"],
}
SETTINGS: dict[str, tuple[DTypeName, QuantizationName]] = {
    "bfloat16": ("bfloat16", "none"),
    "int8": ("auto", "int8"),
    "float32": ("float32", "none"),
    "int8 in float32": ("float32", "int8"),
}
"""Type and quantization by name, as in the settings of a server; `auto` decides as for the whole model."""
CANVAS, BLOCK = 160, 32
STEPS = {"canvas": CANVAS, "window of 32": 32, "window of 8": 8}
"""The tokens that a step computes."""
DEPTHS = (2, 4)
LEAST_S = 0.5
"""Seconds of a sample of the engine's, that the clocks of the system are fine enough for."""
_GREEDY = LogitRules(Score.PROBABILITY, 0.0, top_p=None, top_k=None, scores_see_filters=False)

System = tuple[str, str]
"""A setting or a type of llama.cpp's, and a kind of step."""
Times = dict[System, dict[int, list[Timing]]]
"""The samples that count, by depth."""


def sequence(config: ModelConfig, num_tokens: int, name: str | None = None) -> SequenceInput:
    """The last tokens of a canvas, beside the cached keys of the others where there are any; the last block is
    wanted, or as much of it as is computed."""
    start, ids = CANVAS - num_tokens, range(10, 10 + CANVAS)
    wanted = range(max(start, CANVAS - BLOCK), CANVAS)
    if start == 0:
        return SequenceInput(ids, wanted)
    is_causal = config.block_length is not None
    span = ComputedSpan((start, CANVAS), cached_to=start if is_causal else None)
    span = span.reaching_back(config.prediction_shift)
    return SequenceInput(ids, wanted, name, span, block_length=num_tokens if is_causal else None)


def prepared_step(runner: ModelRunner, num_tokens: int) -> Callable[[], object]:
    """A step whose cache is filled."""
    step = sequence(runner.model.config, num_tokens, f"{num_tokens} tokens")
    if step.cache_name is not None:
        runner.run([Work((step.whole,), _GREEDY)])
    return partial(runner.run, [Work((step,), _GREEDY)])


def engine_works(folder: Path, dtype: torch.dtype, quantization: QuantizationName) -> dict[str, Callable[[], Timing]]:
    """The steps of one setting by their kinds; each sample repeats a step for a while."""
    runner = ModelRunner(load_model(folder, machine.CPU, dtype, quantization))
    works: dict[str, Callable[[], Timing]] = {}
    for kind, num_tokens in STEPS.items():
        step = prepared_step(runner, num_tokens)
        step()
        works[kind] = partial(timed, step, max(1, round(LEAST_S / machine.timed_s(step))))
    return works


def num_weights(published: dict[str, Any]) -> int:
    """The number of weights of the whole model, which is not built."""
    with torch.device("meta"):
        return sum(weight.numel() for weight in build_model(published).parameters())


def all_works(
    folder: Path, published: dict[str, Any], options: argparse.Namespace
) -> dict[System, dict[int, Callable[[], Timing]]]:
    """Everything that is measured of a model, by system and depth."""
    works: dict[System, dict[int, Callable[[], Timing]]] = {}
    for depth, checkpoint in write_depths(folder, published, options.depths).items():
        for setting in options.settings:
            dtype, quantization = SETTINGS[setting]
            kind_of_numbers = choose_dtype(dtype, machine.CPU, num_weights(published))
            for kind, work in engine_works(checkpoint, kind_of_numbers, quantization).items():
                works.setdefault((setting, kind), {})[depth] = work
        for peer in options.types if options.cli and published["model_type"] in ARCHITECTURES else ():
            gguf = write_gguf(folder / f"{depth}-{peer}.gguf", published, depth, peer)
            works.setdefault((f"llama.cpp {peer}", "canvas"), {})[depth] = partial(steps_s, options.cli, gguf, CANVAS)
    return works


def measure(name: str, options: argparse.Namespace, gate: Gate) -> dict[str, Any]:
    """The figures of one model; what is written for it is deleted."""
    published = MODELS[name]
    with tempfile.TemporaryDirectory(dir=options.folder, prefix=f"{name}-") as folder:
        works = all_works(Path(folder), published, options)
        times: Times = {system: {depth: [] for depth in by_depth} for system, by_depth in works.items()}
        for _ in range(options.rounds):
            for system, by_depth in works.items():
                for depth, work in by_depth.items():
                    timing = gate.sample(work)
                    if timing is not None:
                        times[system][depth].append(timing)
    num_layers = depth_of(published)
    rows = [{"system": system, "step": step, **figures(times[system, step], num_layers)} for system, step in works]
    return {"model": name, "layers": num_layers, "rows": compared(rows)}


def figures(by_depth: Mapping[int, Sequence[Timing]], num_layers: int) -> dict[str, Any]:
    """The medians of each depth, and what follows for the whole model; nothing of a depth without samples."""
    row: dict[str, Any] = {"samples": {str(depth): len(taken) for depth, taken in by_depth.items()}}
    for clock in ("seconds", "cpu_s"):
        medians = {d: statistics.median(getattr(one, clock) for one in taken) for d, taken in by_depth.items() if taken}
        row[clock] = {str(depth): round(median, 4) for depth, median in medians.items()}
        if len(medians) == len(by_depth):
            row[f"layer_{clock}"], row[f"whole_{clock}"] = (round(x, 4) for x in extrapolated(medians, num_layers))
    return row


def extrapolated(steps: Mapping[int, float], num_layers: int) -> tuple[float, float]:
    """The cost of a layer and of the whole model: 1.0 s with 2 layers and 1.6 with 4 are 0.3 a layer, 10 with 32."""
    low, high = min(steps), max(steps)
    layer = (steps[high] - steps[low]) / (high - low)
    return layer, steps[low] + (num_layers - low) * layer


def compared(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, with what the whole model gains on llama.cpp's best type, which computes the canvas at every step."""
    peers = [row["whole_seconds"] for row in rows if row["system"].startswith("llama.cpp") and "whole_seconds" in row]
    for row in rows:
        if peers and "whole_seconds" in row:
            row["x_llama_cpp"] = round(min(peers) / row["whole_seconds"], 2)
    return rows


def show(part: dict[str, Any]) -> None:
    columns = ("layer, ms", "whole, s", "layer, CPU ms", "whole, CPU s", "x llama.cpp", "samples")
    print(f"\n{part['model']}, {part['layers']} layers\n{'':32}" + "".join(f"{column:>15}" for column in columns))
    for row in part["rows"]:
        figures = [f"{1e3 * row[f'layer_{clock}']:.1f}" if f"layer_{clock}" in row else "-" for clock in _CLOCKS]
        wholes = [f"{row[f'whole_{clock}']:.2f}" if f"whole_{clock}" in row else "-" for clock in _CLOCKS]
        samples = "/".join(map(str, row["samples"].values()))
        cells = (figures[0], wholes[0], figures[1], wholes[1], str(row.get("x_llama_cpp", "")), samples)
        print(f"{row['system'] + ', ' + row['step']:32}" + "".join(f"{cell:>15}" for cell in cells), flush=True)


_CLOCKS = ("seconds", "cpu_s")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=[*MODELS])
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=["bfloat16", "int8"])
    parser.add_argument("--depths", type=int, nargs=2, default=DEPTHS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--most-others", type=float, default=MOST_OTHERS, help="cores that others may use in a sample")
    parser.add_argument("--patience", type=float, default=PATIENCE_S, help="seconds after which a sample is given up")
    parser.add_argument("--folder", type=Path, default=None, help="where checkpoints are made: 4 GB for an 8B")
    parser.add_argument("--cli", type=Path, help="llama-diffusion-cli, if it is to be compared; wants the package gguf")
    parser.add_argument("--types", nargs="+", default=["BF16", "Q4_0"], help="its types: BF16, Q8_0, Q4_0")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "true_width.json")
    options = parser.parse_args(arguments)
    check_peer(options.cli)
    torch.set_num_threads(options.threads)
    gate = Gate(options.most_others, options.patience)
    report = {"machine": machine.describe(), "canvas": CANVAS, "depths": options.depths, "rounds": options.rounds}
    report |= {"most_others": options.most_others, "models": []}
    for name in options.models:
        report["models"].append(measure(name, options, gate))
        show(report["models"][-1])
        report["disturbed"] = gate.num_disturbed
        options.output.write_text(json.dumps(report, indent=1) + "\n")


def check_peer(cli: Path | None) -> None:
    """Ends the program with a sentence where llama.cpp is asked for and cannot be run."""
    if cli is None:
        return
    if not cli.is_file():
        raise SystemExit(f"--cli: there is no {cli}; docs/performance.md says how llama.cpp's example is built")
    if importlib.util.find_spec("gguf") is None:
        raise SystemExit("--cli: llama.cpp's files are written by the package gguf: pip install gguf")


if __name__ == "__main__":
    main()
