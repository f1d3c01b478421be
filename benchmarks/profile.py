"""Measures the parts of a step: `python -m benchmarks.profile`, from the repository root.

The embedded `llada` denoises a canvas of 128 tokens, computing all of it at each step (`exact`) and spans of 8 rows
(`fast`), with layers of torch modules and, where ONNX Runtime is installed, of graphs. Each part of a step is timed
without the parts inside it. The stopwatch itself costs a few per cent, as the two totals show. The program prints
tables, and writes `results/profile.json`. For a GPU, which works on while a clock is read, use
`benchmarks.gpu --profile`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from app.engine.engine import Engine
from app.engine.interface.params import GenerationRequest
from app.engine.models.attention import PackedAttention
from app.engine.models.layers import Linear, RMSNorm, Rotary
from app.engine.models.llada import LLaDA
from app.engine.passes import graph_forward, reading
from app.engine.passes.graph_forward import GraphForward
from app.engine.passes.graphs import PassGraph, can_run
from app.engine.passes.module_forward import ModuleForward
from app.engine.passes.runner import ModelRunner
from app.engine.recovery import Recovery
from app.engine.request.state import RequestState
from app.text.tokenizer import Tokenizer
from benchmarks import machine
from benchmarks.growth import Point, load_runner, requests_of
from benchmarks.runs import run_engine
from benchmarks.speed import HERE, MODELS, PROSE

POINT = Point(prompt_tokens=32, new_tokens=96)
PARTS: list[tuple[str, Any, str]] = [
    ("linears", Linear, "forward"),
    ("head", LLaDA, "head"),
    ("norms", RMSNorm, "forward"),
    ("attention", PackedAttention, "__call__"),
    ("rotation of queries and keys", Rotary, "rotate"),
    ("residuals, activations, embedding", LLaDA, "hidden"),
    ("graphs", PassGraph, "run"),
    ("layout for graphs", graph_forward, "arrays_of"),
    ("cached keys of graphs", GraphForward, "_store"),
    ("groups for graphs", GraphForward, "logits"),
    ("packing, indices", ModuleForward, "logits"),
    ("sampling", reading, "predict"),
    ("reading of logits", ModelRunner, "run"),
    ("policy, canvas, events", RequestState, "advance"),
    ("room and recovery", Recovery, "run"),
    ("admission", Engine, "admit"),
    ("the rest of the step", Engine, "step"),
]


class Stopwatch:
    """Adds up the time of named parts, each without the parts that it calls."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inner_s: list[float] = [0.0]

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            self._inner_s.append(0.0)
            started_s = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                duration_s = time.perf_counter() - started_s
                self.seconds[name] += duration_s - self._inner_s.pop()
                self._inner_s[-1] += duration_s

        return wrapper


@contextmanager
def watching() -> Iterator[Stopwatch]:
    watch = Stopwatch()
    with ExitStack() as stack:
        for name, owner, attribute in PARTS:
            stack.enter_context(patch.object(owner, attribute, watch.timed(name, getattr(owner, attribute))))
        yield watch


def seconds_by_part(runner: ModelRunner, requests: Sequence[GenerationRequest]) -> dict[str, float]:
    """The mean seconds of the parts of a step; parts that do not occur are left out."""
    with watching() as watch:
        num_steps = len(run_engine(runner, requests).steps_s)
    return {name: watch.seconds[name] / num_steps for name, _, _ in PARTS if name in watch.seconds}


def measure(runner: ModelRunner, requests: Sequence[GenerationRequest], rounds: int) -> dict[str, Any]:
    """The milliseconds of a step, part by part."""
    run_engine(runner, requests, max_steps=10)  # warms up
    steps_s: list[float] = []
    watched: list[dict[str, float]] = []
    for _ in range(rounds):
        steps_s += run_engine(runner, requests).steps_s
        watched.append(seconds_by_part(runner, requests))
    parts = {name: round(1e3 * statistics.median(one[name] for one in watched), 4) for name in watched[0]}
    total_ms = round(sum(parts.values()), 3)
    return {"step_ms": round(1e3 * statistics.mean(steps_s), 3), "watched_ms": total_ms, "parts": parts}


def show(name: str, row: dict[str, Any]) -> None:
    print(f"\n{name}: a step takes {row['step_ms']} ms, {row['watched_ms']} with the stopwatch")
    for part, part_ms in row["parts"].items():
        print(f"{part:36}{part_ms:10.3f} ms{part_ms / row['watched_ms']:8.1%}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=HERE / "results" / "profile.json")
    options = parser.parse_args()
    graphed = load_runner()
    runners = {"torch": ModelRunner(graphed.model, cpu_runtime="torch")}
    runners |= {"graphs": graphed} if can_run(graphed.model) else {}
    prompt = Tokenizer.load(MODELS / "llada").encode(PROSE * 2)[: POINT.prompt_tokens]
    rows = {}
    for preset, what in (("exact", "a canvas of 128"), ("fast", "spans of 8")):
        for layers, runner in runners.items():
            name = f"{what}, {layers}"
            rows[name] = measure(runner, requests_of(POINT, prompt, preset), options.rounds)
            show(name, rows[name])
    options.output.write_text(json.dumps({"machine": machine.describe(), "dtype": "float32", **rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
