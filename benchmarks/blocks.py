"""Measures block-causal decoding: `python -m benchmarks.blocks`, from the repository root.

A model of SDAR's layout and of the embedded models' size, with random weights, writes 256 tokens: by the published loop
with its cache, and by the engine with graphs and with modules, one request and eight at a time; beside it the embedded
LLaDA with `balanced`. All take turns. The program prints a table, and writes `results/blocks.json`. A ratio is the
median over the rounds of the ratio of tokens per second.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from app.engine.families.build import build_model
from app.engine.families.checkpoint import load_model
from app.engine.interface.params import DecodingParams, GenerationRequest
from app.engine.models.base import FamilyModel
from app.engine.passes.runner import ModelRunner
from app.services.diffusion.families.llada import LLADA
from app.services.diffusion.models import DiffusionGenerationParams
from app.services.diffusion.native.decoding import decoding_params
from benchmarks import machine, plain_blocks
from benchmarks.runs import run_engine
from benchmarks.speed import AT_ONCE, HERE, MODELS, figures, num_written

SIZE = {"hidden_size": 192, "num_hidden_layers": 5, "num_attention_heads": 3, "num_key_value_heads": 3}
CONFIG = {
    **SIZE,
    "model_type": "sdar",
    "architectures": ["SDARForCausalLM"],
    "head_dim": 64,
    "intermediate_size": 512,
    "vocab_size": 2048,
    "max_position_embeddings": 512,
    "rope_theta": 500000.0,
    "rms_norm_eps": 1e-05,
    "mask_token_id": 2044,
    "eos_token_id": 2043,
    "block_size": 4,
    "tie_word_embeddings": False,
}
"""The embedded LLaDA's size, in SDAR's layout."""
NUM_PROMPT, NUM_NEW = 24, 256


def random_sdar() -> FamilyModel:
    """A network whose predictions differ from position to position."""
    torch.manual_seed(0)
    model = build_model(CONFIG).requires_grad_(False)
    for name, weight in model.named_parameters():
        if not name.endswith("norm.weight"):
            weight.normal_(std=0.05)
    return model


def block_request(number: int, temperature: float) -> GenerationRequest:
    prompt = tuple(range(10 + number, 10 + number + NUM_PROMPT))
    params = DecodingParams(NUM_NEW, temperature=temperature, seed=number, eos_never_predicted=True)
    return GenerationRequest(f"blocks {number}", prompt, (), params, open_ended=True)


def llada_request(number: int, temperature: float) -> GenerationRequest:
    given = DiffusionGenerationParams(
        text="_", max_length=NUM_NEW, temperature=temperature, seed=number, decoding="balanced", ignore_eos=True,
        top_p=1.0, top_k=100,
    )  # fmt: skip
    prompt = tuple(range(10 + number, 10 + number + NUM_PROMPT))
    return GenerationRequest(f"llada {number}", prompt, (), decoding_params(LLADA, given), open_ended=True)


def measure(temperature: float, rounds: int) -> list[dict[str, Any]]:
    model = random_sdar()
    runners = {"graphs": ModelRunner(model), "modules": ModelRunner(model, cpu_runtime="torch")}
    llada = ModelRunner(load_model(MODELS / "llada", torch.device("cpu"), torch.float32))
    requests = [block_request(number, temperature) for number in range(AT_ONCE)]
    others = [llada_request(number, temperature) for number in range(AT_ONCE)]
    loop = partial(
        plain_blocks.sdar, model, list(requests[0].prefix), gen_length=NUM_NEW, block_length=4, temperature=temperature
    )
    jobs: dict[str, tuple[ModelRunner, list[GenerationRequest]]] = {}
    for count, suffix in ((1, ""), (AT_ONCE, f", {AT_ONCE} at once")):
        for name, runner in runners.items():
            jobs[f"{name}{suffix}"] = (runner, requests[:count])
        jobs[f"llada balanced{suffix}"] = (llada, others[:count])
    works: dict[str, Callable[[], Any]] = {"published loop": loop}
    works |= {name: partial(run_engine, runner, chosen) for name, (runner, chosen) in jobs.items()}
    times = machine.interleaved_s(works, rounds)
    baseline = loop()
    num_plain = num_written(baseline.ids, model.config.special.eos)
    plain_per_s = [num_plain / s for s in times["published loop"]]
    rows = [figures("published loop", num_plain, baseline.nfe, times["published loop"], plain_per_s)]
    for name, (runner, chosen) in jobs.items():
        run = run_engine(runner, chosen)
        rows.append(figures(name, run.num_tokens, run.nfe, times[name], plain_per_s))
        if temperature == 0 and runner is not llada:
            rows[-1]["same_tokens_as_published"] = run.ids[0] == baseline.ids
    return rows


def show(temperature: float, rows: list[dict[str, Any]]) -> None:
    print(f"\ntemperature {temperature:g}\n{'':26}{'tokens':>8}{'nfe':>7}{'ms/step':>9}{'tok/s':>9}{'x loop':>9}")
    for row in rows:
        same = {True: "  the loop's tokens", False: "  OTHER TOKENS", None: ""}[row.get("same_tokens_as_published")]
        print(
            f"{row['system']:26}{row['tokens']:8}{row['nfe']:7}{row['ms_per_step']:9.2f}{row['tokens_per_s']:9.1f}"
            f"{row['speedup']:9.2f}{same}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=HERE / "results" / "blocks.json")
    options = parser.parse_args()
    report: dict[str, Any] = {"machine": machine.describe(), "dtype": "float32", "limits": machine.limits()}
    for temperature in (0.0, 0.7):
        rows = measure(temperature, options.rounds)
        show(temperature, rows)
        report[f"temperature {temperature:g}"] = rows
    options.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
