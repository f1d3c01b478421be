"""Compares this engine with llama.cpp's diffusion example: the same weights, canvas, blocks and steps, in turns.

    python -m benchmarks.llama_cpp --cli build/bin/llama-diffusion-cli --gguf llada-f32.gguf llada-q4_0.gguf

docs/performance.md says how the program is built and the embedded llada converted. Its canvas is its micro-batch, with
the prompt in it. Loading is left out of both: the time of a forward pass is the difference of a long and a short run.
At temperature 0 it commits one token per pass in another order than LLaDA does, which takes equal time.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import torch

from app.engine.families.checkpoint import load_model
from app.engine.interface.config import QuantizationName
from app.engine.interface.params import GenerationRequest
from app.engine.passes.runner import ModelRunner
from app.services.diffusion.families.llada import LLADA
from app.services.diffusion.models import DiffusionGenerationParams
from app.services.diffusion.native.decoding import decoding_params
from app.text.tokenizer import Tokenizer
from benchmarks import machine
from benchmarks.quiet import Moment, Timing
from benchmarks.runs import run_engine
from benchmarks.speed import HERE, MODELS, PROSE

CANVAS, NEW_TOKENS, BLOCK = 128, 64, 32
PRESETS = ("exact", "balanced", "fast")
AT_ONCE = 8
WEIGHTS: tuple[tuple[str, QuantizationName], ...] = (("", "none"), (", int8", "int8"))
STEPS = (128, 4)
"""The steps of the long and the short run; the program runs all of them, even if there are fewer masks."""
FEW_STEPS = (20, 5)
"""Steps of the two runs where a step takes seconds: multiples of the blocks of a canvas of 160."""
_TOTAL_MS = re.compile(rb"total time:\s*([0-9.]+)\s*ms")
"""The time of all steps, without what it takes to load, as the program prints it."""


def peer_s(cli: Path, gguf: Path) -> float:
    """The program's seconds per new token; it commits one in each forward pass."""
    return steps_s(cli, gguf, CANVAS, STEPS).seconds


def steps_s(cli: Path, gguf: Path, canvas: int, steps: tuple[int, int] = FEW_STEPS) -> Timing:
    """The times of one step: the difference of a long and a short run, since the first step takes longer than others.

    The seconds are those that the program counts for its steps: by the clock of the whole run a file that is not in
    memory yet is worth many steps. What it takes to load stays in the processor's seconds of both runs.

    Raises:
        SystemExit: the program failed, or took no steps.
    """
    (long, many), (short, few) = (_peer_run(cli, gguf, canvas, count) for count in steps)
    if many <= few:
        raise SystemExit(f"{cli} took {many} steps where it should take more than {few}; is it llama-diffusion-cli?")
    seconds, cpu_s = long.seconds - short.seconds, long.cpu_s - short.cpu_s
    return Timing(seconds / (many - few), cpu_s / (many - few))


def _peer_run(cli: Path, gguf: Path, canvas: int, steps: int) -> tuple[Timing, int]:
    size, threads = str(canvas), str(torch.get_num_threads())
    command = [str(cli), "-m", str(gguf), "-p", PROSE, "-ub", size, "-b", size, "-c", "512", "-t", threads]
    command += ["--diffusion-block-length", str(BLOCK), "--diffusion-steps", str(steps), "--temp", "0", "--top-k", "1"]
    started = Moment.now()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    ended = Moment.now()
    if done.returncode:
        last = (done.stderr.decode(errors="replace").strip().splitlines() or ["it says nothing"])[-1]
        raise SystemExit(f"{cli} failed on {gguf.name} with status {done.returncode}: {last}")
    said = done.stdout + done.stderr
    total = _TOTAL_MS.search(said)
    if total is None:
        raise SystemExit(f"{cli} does not say how long its steps took; is it llama-diffusion-cli?")
    return Timing(float(total[1]) / 1e3, ended.own_s - started.own_s), said.count(b"diffusion step:")


def request(tokenizer: Tokenizer, preset: str, number: int) -> GenerationRequest:
    """A request with as many tokens of prose as fit the canvas, so that both systems compute equally many."""
    params = DiffusionGenerationParams.model_validate(
        {"text": PROSE, "max_length": NEW_TOKENS, "temperature": 0.0, "decoding": preset}
    )
    decoding = decoding_params(LLADA, params)
    prompt = (tokenizer.encode(PROSE) * 8)[: CANVAS - NEW_TOKENS]
    return GenerationRequest(f"{preset} {number}", tuple(prompt), (), decoding, open_ended=True)


def engine_s(runner: ModelRunner, requests: list[GenerationRequest]) -> float:
    """The engine's seconds per new token, including tokens behind the end of the text, as the peer counts them."""
    return sum(run_engine(runner, requests).steps_s) / (NEW_TOKENS * len(requests))


def measure(cli: Path, ggufs: list[Path], rounds: int) -> dict[str, Any]:
    folder = MODELS / "llada"
    runners = {name: ModelRunner(load_model(folder, machine.CPU, torch.float32, scheme)) for name, scheme in WEIGHTS}
    tokenizer = Tokenizer.load(folder)
    works = {f"llama.cpp {path.stem}": partial(peer_s, cli, path) for path in ggufs}
    for preset in PRESETS:
        jobs = [request(tokenizer, preset, number) for number in range(AT_ONCE)]
        for name, runner in runners.items():
            works[f"{preset}{name}"] = partial(engine_s, runner, jobs[:1])
            works[f"{preset}{name}, {AT_ONCE} at once"] = partial(engine_s, runner, jobs)
    times = machine.interleaved(works, rounds)
    best = min(
        (name for name in works if name.startswith("llama.cpp")), key=lambda name: statistics.median(times[name])
    )
    return {
        "canvas": CANVAS,
        "new_tokens": NEW_TOKENS,
        "best_peer": best,
        "systems": {
            name: {
                "ms_per_token": round(1e3 * statistics.median(taken), 3),
                "speedup": round(machine.median_ratio(times[best], taken), 2),
            }
            for name, taken in times.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cli", type=Path, required=True, help="llama-diffusion-cli")
    parser.add_argument("--gguf", type=Path, nargs="+", required=True, help="the embedded llada in its formats")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=HERE / "results" / "llama_cpp.json")
    options = parser.parse_args()
    result = measure(options.cli, options.gguf, options.rounds)
    print(f"{'':28}{'ms/token':>10}{'x ' + result['best_peer']:>24}")
    for name, row in result["systems"].items():
        print(f"{name:28}{row['ms_per_token']:10.2f}{row['speedup']:24.2f}")
    options.output.write_text(json.dumps({"machine": machine.describe(), **result}, indent=1) + "\n")


if __name__ == "__main__":
    main()
