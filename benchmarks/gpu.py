"""Measures the published shapes on a GPU: `python -m benchmarks.gpu`, from the repository root.

DreamOn-7B and LLaDA-8B have random weights in bfloat16, made on the device: the cost of a step does not depend on their
values. But an untrained model is never confident, so a confidence threshold commits one token a step here; the rows
with several commits a step show its gain where it commits as many. The program prints a table, and writes
`results/gpu.json` anew after each part of it. The systems of a part, the plain loop among them, are run in turns; one
that does not fit the device is left out and named. `--device cpu --shape tiny` tries the program without a GPU.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from app.engine.device.devices import choose_device, choose_dtype
from app.engine.device.memory import device_memory, free_caches
from app.engine.interface.config import EngineConfig
from app.engine.interface.errors import OutOfDeviceMemory
from app.engine.interface.params import GenerationRequest
from app.engine.passes.work import SequenceInput
from app.services.diffusion.families.registry import text_family
from app.services.diffusion.models import DiffusionGenerationParams
from app.services.diffusion.native.decoding import decoding_params
from benchmarks import machine
from benchmarks.roofline import least_s
from benchmarks.runs import DEFAULTS, run_engine
from benchmarks.shapes import SHAPES, random_model
from benchmarks.speed import GREEDY, HERE, SAMPLED, RecordingRunner, Workload, run_forwards

SYSTEMS = [
    # name, preset, commits a step
    ("exact", "exact", 1),
    ("exact, 2 a step", "exact", 2),
    ("balanced", "balanced", 1),
    ("fast", "fast", 1),
    ("fast, 4 a step", "fast", 4),
]
WARM_UP_STEPS = 8
"""The number of steps to warm up, and of bare passes, which show the time that the engine adds."""
PROFILED_STEPS = 8
PROFILED_KERNELS = 15


@dataclass(frozen=True, slots=True)
class Job:
    """A kind of request: a prompt of random ids, in front of the masks or, for `dreamon`, around them."""

    family: str
    prompt_tokens: int
    new_tokens: int
    sampling: dict[str, Any]

    def workload(self, decoding: str, commits: int, number: int = 0) -> Workload:
        fields = {
            "text": "random ids",
            "max_length": self.new_tokens,
            "steps": self.new_tokens // commits,
            "initial_masks": self.new_tokens if self.family == "dreamon" else None,
            "decoding": decoding,
            "seed": number,
            **self.sampling,
        }
        name = f"{decoding}, {commits}, {number}"
        return Workload(name, self.family, DiffusionGenerationParams.model_validate(fields))

    def request(self, workload: Workload, first_special: int, number: int = 0) -> GenerationRequest:
        ids = random.Random(number).choices(range(first_special), k=self.prompt_tokens)
        middle = self.prompt_tokens // 2 if self.family == "dreamon" else self.prompt_tokens
        params = decoding_params(text_family(self.family), workload.params)
        return GenerationRequest(workload.name, tuple(ids[:middle]), tuple(ids[middle:]), params)


@dataclass(frozen=True, slots=True)
class Sample:
    """The figures of one run of one system."""

    num_tokens: int
    nfe: int
    seconds: float
    steps_s: list[float]
    """The seconds of each engine step; their mean for the plain loop, which does not wait for the device."""
    requests_per_pass: float
    least_s: float | None
    """The seconds that the passes take on the roofline."""
    peak_bytes: int


Run = Callable[[int | None], Sample]
"""A function that runs to the end, or for a number of steps to warm up."""


class Bench:
    """One model on its device."""

    def __init__(self, family: str, shape: str, device: torch.device, limits: dict[str, float]) -> None:
        self.family = family
        self.device = device
        self.runner = RecordingRunner(random_model(SHAPES[shape][family], device, choose_dtype("auto", device)))
        self.limits = limits
        # Whatever is asked for together runs together, as far as half of what the weights leave free goes.
        memory = device_memory(device)
        room = memory.free_bytes // 2 if memory else DEFAULTS.max_logits_bytes
        self.config = EngineConfig(device=str(device), max_batch_tokens=2**20, max_logits_bytes=room)
        self.first_special = min(self.runner.model.config.special.mask, self.runner.model.config.special.eos)

    def requests(self, job: Job, decoding: str, commits: int, count: int) -> list[GenerationRequest]:
        numbered = [(job.workload(decoding, commits, number), number) for number in range(count)]
        return [job.request(workload, self.first_special, number) for workload, number in numbered]

    def plain(self, job: Job, max_steps: int | None) -> Sample:
        """Runs the published loop for one request, always to its end."""
        workload = job.workload("exact", 1)
        request = job.request(workload, self.first_special)
        machine.reset_peak(self.device)
        decoded = []
        seconds = machine.timed_s(lambda: decoded.append(workload.plain(self.runner.model, request)))
        nfe, peak = decoded[0].nfe, machine.peak_bytes(self.device)
        return Sample(len(decoded[0].ids), nfe, seconds, [seconds / nfe] * nfe, 1.0, None, peak)

    def engine(self, requests: Sequence[GenerationRequest], max_steps: int | None) -> Sample:
        self.runner.passes.clear()
        machine.reset_peak(self.device)
        run = run_engine(self.runner, requests, self.config, max_steps)
        peak, least = machine.peak_bytes(self.device), self.least_s(self.runner.passes)
        return Sample(run.num_tokens, run.nfe, sum(run.steps_s), run.steps_s, run.requests_per_pass, least, peak)

    def forwards_s(self, passes: Sequence[Sequence[SequenceInput]]) -> float:
        return machine.timed_s(lambda: machine.finished(run_forwards(self.runner, passes), self.device))

    def least_s(self, passes: Sequence[Sequence[SequenceInput]]) -> float:
        return least_s(self.runner.model.config, self.runner.dtype, self.limits, passes)

    def fits(self, run: Run) -> bool:
        """Whether the run fits the device; it warms up too."""
        try:
            run(WARM_UP_STEPS)
            return True
        except (OutOfDeviceMemory, torch.OutOfMemoryError) as error:
            print(f"left out: {error}")
        free_caches(self.device)  # not before the error is gone, whose traceback holds the tensors
        return False


def measure(bench: Bench, job: Job, at_once: int, rounds: int) -> dict[str, Any]:
    jobs = {name: bench.requests(job, decoding, commits, at_once) for name, decoding, commits in SYSTEMS}
    runs: dict[str, Run] = {"plain": partial(bench.plain, job)}
    runs |= {name: partial(bench.engine, requests) for name, requests in jobs.items()}
    fitting = {name: run for name, run in runs.items() if bench.fits(run)}
    samples: dict[str, list[Sample]] = {name: [] for name in fitting}
    for _ in range(rounds):
        for name, run in fitting.items():
            samples[name].append(run(None))
    plain_per_s = [sample.num_tokens / sample.seconds for sample in samples.get("plain", [])]
    part = {
        "model": job.family,
        "canvas": job.prompt_tokens + job.new_tokens,
        "new_tokens": job.new_tokens,
        "at_once": at_once,
        "left_out": [name for name in runs if name not in fitting],
        "systems": [{"system": name, **figures(taken, plain_per_s)} for name, taken in samples.items()],
    }
    return part | (bare_forwards(bench, jobs["exact"], rounds) if "exact" in fitting else {})


def bare_forwards(bench: Bench, requests: Sequence[GenerationRequest], rounds: int) -> dict[str, float]:
    """The times of the first steps of exact decoding, and of their forward passes alone."""
    bench.engine(requests, WARM_UP_STEPS)
    passes = list(bench.runner.passes)
    times = [(bench.engine(requests, WARM_UP_STEPS).seconds, bench.forwards_s(passes)) for _ in range(rounds)]
    forward_s = statistics.median(forward_s for _, forward_s in times)
    return {
        "forward_ms": round(1e3 * forward_s / len(passes), 3),
        "forward_share_of_roofline": round(bench.least_s(passes) / forward_s, 3),
        "overhead": round(statistics.median(engine_s / forward_s for engine_s, forward_s in times) - 1, 3),
    }


def figures(samples: Sequence[Sample], plain_per_s: Sequence[float]) -> dict[str, Any]:
    first, steps_s = samples[0], [step_s for sample in samples for step_s in sample.steps_s]
    per_s = [sample.num_tokens / sample.seconds for sample in samples]
    shares = [sample.least_s / sample.seconds for sample in samples if sample.least_s is not None]
    return {
        "tokens": first.num_tokens,
        "steps": len(first.steps_s),
        "nfe": first.nfe,
        "tokens_per_forward": round(first.num_tokens / first.nfe, 3),
        "requests_per_pass": round(first.requests_per_pass, 2),
        "ms_per_step": round(1e3 * statistics.mean(steps_s), 3),
        **{f"step_p{share}_ms": round(1e3 * float(np.percentile(steps_s, share)), 3) for share in (50, 95)},
        "tokens_per_s": round(statistics.median(per_s), 1),
        "speedup": round(machine.median_ratio(per_s, list(plain_per_s)), 2) if plain_per_s else None,
        "share_of_roofline": round(statistics.median(shares), 3) if shares else None,
        "peak_gb": round(max(sample.peak_bytes for sample in samples) / 1e9, 2),
        "seconds": [round(sample.seconds, 4) for sample in samples],
    }


def show(part: dict[str, Any]) -> None:
    print(f"\n{part['model']}, canvas {part['canvas']}, {part['new_tokens']} new tokens, {part['at_once']} at once")
    if "overhead" in part:
        share = part["forward_share_of_roofline"]
        print(f"forward {part['forward_ms']} ms, {share:.0%} of the roofline, engine over it {part['overhead']:+.1%}")
    columns = ("tok/nfe", "req/pass", "ms/step", "p50", "p95", "tok/s", "x plain", "roofline", "peak GB")
    print(f"{'':18}" + "".join(f"{column:>10}" for column in columns))
    for system in part["systems"]:
        left_out = ("system", "tokens", "steps", "nfe", "seconds")
        cells = [value for name, value in system.items() if name not in left_out]
        print(f"{system['system']:18}" + "".join(f"{'-' if cell is None else cell:>10}" for cell in cells), flush=True)


def profile(bench: Bench, job: Job) -> None:
    """Prints the kernels that a few steps of exact decoding spend most time in."""
    from torch.profiler import ProfilerActivity

    on_gpu = bench.device.type == "cuda"
    requests = bench.requests(job, "exact", 1, count=1)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with torch.profiler.profile(activities=activities) as profiler:
        machine.finished(bench.engine(requests, PROFILED_STEPS), bench.device)
    order = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    print(f"\n{PROFILED_STEPS} steps of {job.family}, exact")
    print(profiler.key_averages().table(sort_by=order, row_limit=PROFILED_KERNELS))


def describe(device: torch.device) -> dict[str, Any]:
    dtype = choose_dtype("auto", device)
    return {
        "machine": machine.describe(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "cuda": torch.version.cuda,
        "dtype": machine.name_of(dtype),
        "limits": machine.limits(device, dtype),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--shape", choices=SHAPES, default="true")
    parser.add_argument("--models", nargs="+", choices=SHAPES["true"], default=[*SHAPES["true"]])
    parser.add_argument("--prompt", type=int, default=256, help="tokens of the given text")
    parser.add_argument("--tokens", type=int, nargs="+", default=[256, 128], help="new tokens, multiples of 32")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32], help="requests at once")
    parser.add_argument("--rounds", type=int, default=3, help="for one request; fewer for more at once")
    parser.add_argument("--sampled", action="store_true", help="temperature 0.7 instead of 0")
    parser.add_argument("--profile", action="store_true", help="print the kernels that take most time")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "gpu.json")
    options = parser.parse_args(arguments)
    device, sampling = choose_device(options.device), SAMPLED if options.sampled else GREEDY
    report = {**describe(device), "shape": options.shape, "sampling": sampling, "parts": []}
    for family in options.models:
        bench = Bench(family, options.shape, device, report["limits"])
        jobs = [Job(family, options.prompt, num_tokens, sampling) for num_tokens in options.tokens]
        if options.profile:
            profile(bench, jobs[0])
        for job in jobs:
            for at_once in options.batches:
                report["parts"].append(measure(bench, job, at_once, max(1, options.rounds // at_once)))
                show(report["parts"][-1])
                options.output.write_text(json.dumps(report, indent=1) + "\n")
        del bench  # its weights make room for the next model's
        free_caches(device)


if __name__ == "__main__":
    main()
