"""Measures what adapters cost: `python -m benchmarks.adapters`, from the repository root.

Eight requests of the embedded `llada` are denoised together: by the base alone, and with adapters of rank 8 of all its
projections, which are random, for speed does not depend on their numbers. The base runs as graphs and, to tell the two
costs apart, as torch modules; requests with adapters run as modules. Beside them, four models with merged weights
answer two requests each, one model after the other: the way without adapters, with four times the weights. The ways are
taken in turns. `--width 1024` takes a random model of that width and 8 layers instead, too large for graphs. The
program prints a table of medians, and writes `results/adapters.json`, or `results/adapters-1024.json`.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from app.engine.engine import Engine
from app.engine.families.build import build_model
from app.engine.interface.config import EngineConfig
from app.engine.interface.events import EngineEvent, Step
from app.engine.interface.params import GenerationRequest
from app.engine.models.adapters import Adapter, Change
from app.engine.models.base import FamilyModel
from app.engine.models.quantisation import weights_to_quantise
from app.engine.passes.runner import ModelRunner
from app.engine.request.state import RequestState
from benchmarks import machine
from benchmarks.growth import Point, load_runner, requests_of

RESULTS = Path(__file__).parent / "results" / "adapters.json"
NUM_REQUESTS = 8
NUM_ADAPTERS = 4
POINT = Point(prompt_tokens=32, new_tokens=16, requests=NUM_REQUESTS)
"""Canvases of 48 tokens."""
LARGE_POINT = Point(prompt_tokens=45, new_tokens=3, requests=NUM_REQUESTS)
"""Canvases of 48 tokens with few steps, for a large model."""
DECODINGS = ("exact", "fast")


@dataclass(frozen=True)
class Way:
    """One way to answer the requests: runners that take turns, and which adapter each request has."""

    name: str
    runners: Sequence[ModelRunner]
    adapters: Sequence[Adapter | None]
    """The adapters, request by request and from the first one on again."""

    def run(self, requests: Sequence[GenerationRequest]) -> int:
        """Denoises the requests, an equal share by each runner; gives the number of new tokens."""
        share = len(requests) // len(self.runners)
        parts = (requests[start : start + share] for start in range(0, len(requests), share))
        return sum(self._denoise(runner, part) for runner, part in zip(self.runners, parts, strict=True))

    def _denoise(self, runner: ModelRunner, requests: Sequence[GenerationRequest]) -> int:
        engine, events = Engine(runner, EngineConfig(memory_threshold=1.0)), list[EngineEvent]()
        for number, request in enumerate(requests):
            adapter = self.adapters[number % len(self.adapters)]
            engine.add(RequestState(request, runner.model.config, events.append, adapter))
        while engine.has_work:
            engine.step()
        return sum(len(event.new_final) for event in events if isinstance(event, Step))


def random_adapter(model: FamilyModel, seed: int, rank: int = 8) -> Adapter:
    """An adapter of all projections, so small that texts stay of a kind."""
    generator = torch.Generator().manual_seed(seed)

    def matrix(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator) * 0.01

    shapes = {name: linear.weight.shape for name, linear in weights_to_quantise(model).items()}
    changes = {name: Change(matrix(rank, inputs), matrix(outputs, rank)) for name, (outputs, inputs) in shapes.items()}
    return Adapter({name.removesuffix(".weight"): change for name, change in changes.items()})


def merged(model: FamilyModel, adapter: Adapter) -> FamilyModel:
    """A copy of the model with the adapter in its weights."""
    changed = copy.deepcopy(model)
    for name, change in adapter.changes.items():
        weight = changed.get_parameter(f"{name}.weight")
        weight.data = weight + change.up @ change.down
    return changed


def ways_of(model: FamilyModel) -> list[Way]:
    """The ways that are compared; the first is the base alone."""
    adapters = [random_adapter(model, seed) for seed in range(NUM_ADAPTERS)]
    graphed, by_modules = ModelRunner(model), ModelRunner(model, cpu_runtime="torch")
    return [
        Way("base, graphs", [graphed], [None]),
        Way("base, modules", [by_modules], [None]),
        Way("one adapter", [graphed], adapters[:1]),
        Way(f"{NUM_ADAPTERS} adapters", [graphed], adapters),
        Way(f"base and {NUM_ADAPTERS - 1} adapters", [graphed], [None, *adapters[1:]]),
        Way(f"{NUM_ADAPTERS} merged models in turns", [ModelRunner(merged(model, each)) for each in adapters], [None]),
    ]


def random_model(width: int) -> FamilyModel:
    """A model that is mostly products, as those that people serve are."""
    sizes = {"d_model": width, "n_heads": width // 64, "n_layers": 8, "mlp_hidden_size": 4 * width}
    ids = {
        "embedding_size": 2048,
        "vocab_size": 2048,
        "mask_token_id": 2044,
        "eos_token_id": 2043,
        "pad_token_id": 2043,
    }
    return build_model({"model_type": "llada", "max_sequence_length": 512, **sizes, **ids}).requires_grad_(False)


def tokens_per_s(way: Way, requests: Sequence[GenerationRequest], clock: Callable[[], float]) -> float:
    started_s = clock()
    return way.run(requests) / (clock() - started_s)


def measure(model: FamilyModel, point: Point, rounds: int, decoding: str) -> list[dict[str, Any]]:
    """The median speed of each way, and its ratio to the base alone."""
    requests = requests_of(point, list(range(5, 5 + point.prompt_tokens)), decoding)
    ways = ways_of(model)
    speeds: dict[str, list[float]] = {way.name: [] for way in ways}
    for number in range(rounds + 1):
        for way in ways:  # in turns, so that other work on the machine slows all of them
            speed = tokens_per_s(way, requests, time.perf_counter)
            if number:  # the first round warms up
                speeds[way.name].append(speed)
    medians = {name: statistics.median(each) for name, each in speeds.items()}
    base = medians[ways[0].name]
    return [
        {"decoding": decoding, "way": name, "tokens_per_s": round(speed, 1), "to_base": round(speed / base, 3)}
        for name, speed in medians.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--width", type=int, help="of a random model instead of the embedded one")
    args = parser.parse_args()
    if args.width is None:
        model = load_runner().model
        rows = [row for decoding in DECODINGS for row in measure(model, POINT, args.rounds, decoding)]
    else:
        rows = measure(random_model(args.width), LARGE_POINT, args.rounds, "exact")
    for row in rows:
        print(f"{row['decoding']:8} {row['way']:28} {row['tokens_per_s']:8.1f} tokens/s  {row['to_base']:6.2f} x base")
    path = RESULTS if args.width is None else RESULTS.with_stem(f"adapters-{args.width}")
    path.write_text(json.dumps({**machine.describe(), "rounds": args.rounds, "rows": rows}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
