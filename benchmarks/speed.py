"""Measures the speed of the engine: `python -m benchmarks.speed`, from the repository root.

Each workload is run by the plain loop, by the engine with each preset of `decoding`, one request and eight at a time,
and as the bare forward passes of exact decoding; all in turns. The program prints a table, and writes
`results/speed.json`. Tokens are counted up to the end of the text; a ratio is the median over the rounds of the ratio
of tokens per second.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from app.engine.families.checkpoint import load_model
from app.engine.interface.params import GenerationRequest
from app.engine.models.base import FamilyModel
from app.engine.passes.runner import ModelRunner
from app.engine.passes.work import SequenceInput
from app.services.diffusion.families.registry import text_family
from app.services.diffusion.models import DiffusionGenerationParams, DiffusionInfillingParams, Params
from app.services.diffusion.native.decoding import decoding_params
from app.services.diffusion.native.prompt import prompt_ids
from app.text.tokenizer import Tokenizer
from benchmarks import machine, plain
from benchmarks.runs import run_engine

HERE = Path(__file__).parent
MODELS = HERE.parent / "backend" / "app" / "assets" / "models"
AT_ONCE = 8
PRESETS = ("exact", "balanced", "fast")
GREEDY = {"temperature": 0.0, "top_p": 1.0, "top_k": 100}
SAMPLED = {"temperature": 0.7, "top_p": 0.9, "top_k": 50}

PROSE = "The morning after the ball, as they walked through the garden, she asked him whether he had"
BEFORE = '''import csv
from pathlib import Path


def read_rows(path, delimiter=","):
    """Rows of a table as dictionaries, by the names in its first line."""
    with open(path, newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def read_lines(path, encoding="utf-8"):
    """Lines of a file, without what ends them."""
    with open(path, encoding=encoding) as file:
'''
BEHIND = '''
    return [line.rstrip() for line in lines]


def write_lines(path, lines, encoding="utf-8"):
    """Writes lines into a file, one below the other."""
    with open(path, "w", encoding=encoding) as file:
        for line in lines:
            file.write(line + "\\n")


def count_words(text):
    """How often each word occurs."""
    counts = {}
    for word in text.split():
        counts[word] = counts.get(word, 0) + 1
    return counts
'''


class RecordingRunner(ModelRunner):
    """A runner that records the inputs of its forward passes."""

    def __init__(self, model: FamilyModel) -> None:
        super().__init__(model)
        self.passes: list[list[SequenceInput]] = []

    def logits(self, sequences: Sequence[SequenceInput]) -> torch.Tensor:
        self.passes.append(list(sequences))
        return super().logits(sequences)


@dataclass(frozen=True)
class Workload:
    """A job as a client would request it."""

    name: str
    model: str
    params: Params

    def request(self, tokenizer: Tokenizer, preset: str, number: int = 0) -> GenerationRequest:
        params = self.params.model_copy(update={"decoding": preset, "seed": number})
        family = text_family("dreamon" if self.model == "dreamon" else "llada")
        prompt = prompt_ids(family, tokenizer, params)
        return GenerationRequest(
            f"{preset} {number}",
            prompt.prefix,
            prompt.suffix,
            decoding_params(family, params),
            open_ended=isinstance(params, DiffusionGenerationParams),
        )

    def plain(self, model: FamilyModel, request: GenerationRequest) -> plain.Decoded:
        """The result of the same job by the published loop."""
        params, prefix, suffix = request.params, list(request.prefix), list(request.suffix)
        if self.model == "llada":
            return plain.llada(
                model,
                prefix,
                gen_length=params.max_new_tokens,
                block_length=params.block_length or params.max_new_tokens,
                steps=params.max_new_tokens,
                temperature=params.temperature,
            )
        return plain.dreamon(
            model,
            prefix,
            suffix,
            num_masks=params.initial_masks or 1,
            max_new_tokens=params.max_new_tokens,
            temperature=params.temperature,
            top_p=params.top_p,
            top_k=params.top_k,
        )


def workloads() -> list[Workload]:
    def prose(num_tokens: int, sampling: dict[str, Any]) -> Params:
        return DiffusionGenerationParams(text=PROSE, max_length=num_tokens, **sampling)

    def gap(sampling: dict[str, Any]) -> Params:
        return DiffusionInfillingParams(prefix=BEFORE, suffix=BEHIND, max_length=64, **sampling)

    return [
        Workload("llada, 128 tokens, greedy", "llada", prose(128, GREEDY)),
        Workload("llada, 128 tokens, sampled", "llada", prose(128, SAMPLED)),
        Workload("llada, 256 tokens, sampled", "llada", prose(256, SAMPLED)),
        Workload("dreamon, gap, greedy", "dreamon", gap(GREEDY)),
        Workload("dreamon, gap, sampled", "dreamon", gap(SAMPLED)),
    ]


@torch.inference_mode()
def run_forwards(runner: ModelRunner, passes: Sequence[Sequence[SequenceInput]]) -> None:
    for sequences in passes:
        runner.logits(sequences)


def measure(workload: Workload, rounds: int) -> dict[str, Any]:
    folder = MODELS / workload.model
    tokenizer = Tokenizer.load(folder)
    recording = RecordingRunner(load_model(folder, torch.device("cpu"), torch.float32))
    runner = ModelRunner(recording.model)
    exact = workload.request(tokenizer, "exact")
    (ids,) = run_engine(recording, [exact]).ids
    jobs = {name: [workload.request(tokenizer, name, i) for i in range(AT_ONCE)] for name in PRESETS}
    works: dict[str, Callable[[], Any]] = {
        "plain": partial(workload.plain, runner.model, exact),
        "forwards": partial(run_forwards, runner, recording.passes),
    }
    for name, requests in jobs.items():
        works[name] = partial(run_engine, runner, requests[:1])
        works[f"{name}, 8 at once"] = partial(run_engine, runner, requests)
    times = machine.interleaved_s(works, rounds)
    baseline = workload.plain(runner.model, exact)
    num_plain = num_written(baseline.ids, runner.model.config.special.eos)
    plain_per_s = [max(num_plain, 1) / s for s in times["plain"]]
    systems = [figures("plain", num_plain, baseline.nfe, times["plain"], plain_per_s)]
    for name, requests in jobs.items():
        for label, chosen in ((name, requests[:1]), (f"{name}, 8 at once", requests)):
            run = run_engine(runner, chosen)
            systems.append(figures(label, run.num_tokens, run.nfe, times[label], plain_per_s))
    return {
        "workload": workload.name,
        "canvas": max(len(sequence.ids) for sequences in recording.passes for sequence in sequences),
        "same_tokens_as_plain": baseline.ids[:num_plain] == ids if exact.params.temperature == 0 else None,
        "overhead": machine.median_ratio(times["exact"], times["forwards"]) - 1,
        "systems": systems,
    }


def figures(name: str, num_tokens: int, nfe: int, times: list[float], plain_per_s: list[float]) -> dict[str, Any]:
    per_s = [max(num_tokens, 1) / s for s in times]
    return {
        "system": name,
        "tokens": num_tokens,
        "nfe": nfe,
        "tokens_per_forward": round(num_tokens / max(nfe, 1), 3),
        "ms_per_step": round(1e3 * statistics.median(times) / max(nfe, 1), 3),
        "tokens_per_s": round(statistics.median(per_s), 1),
        "speedup": round(machine.median_ratio(per_s, plain_per_s), 2),
        "seconds": [round(s, 4) for s in times],
    }


def num_written(ids: Sequence[int], eos: int) -> int:
    return ids.index(eos) if eos in ids else len(ids)


def show(row: dict[str, Any]) -> None:
    same = {True: "the plain loop's tokens", False: "OTHER TOKENS than the plain loop's", None: "sampled"}
    verdict = same[row["same_tokens_as_plain"]]
    print(f"\n{row['workload']}: canvas {row['canvas']}, engine over forward {row['overhead']:+.1%}, {verdict}")
    print(f"{'':22}{'tokens':>8}{'nfe':>7}{'tok/nfe':>9}{'ms/step':>9}{'tok/s':>9}{'x plain':>9}")
    for system in row["systems"]:
        print(
            f"{system['system']:22}{system['tokens']:8}{system['nfe']:7}{system['tokens_per_forward']:9.2f}"
            f"{system['ms_per_step']:9.2f}{system['tokens_per_s']:9.1f}{system['speedup']:9.2f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--short", action="store_true", help="one workload of each model, one round")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "speed.json")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    chosen = [workloads()[1], workloads()[4]] if options.short else workloads()
    rows = []
    for workload in chosen:
        rows.append(measure(workload, 1 if options.short else options.rounds))
        show(rows[-1])
    report = {"machine": machine.describe(), "dtype": "float32", "limits": machine.limits(), "workloads": rows}
    options.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
