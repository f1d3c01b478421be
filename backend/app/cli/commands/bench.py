"""The command `reynard-diffusion bench`."""

from __future__ import annotations

import json
import statistics
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from app.cli.notes import note
from app.cli.parameters import parameter_options
from app.cli.table import table
from app.cli.target import Target, connected, target_options
from app.cli.types import TEXT
from app.services.diffusion.models import Request

if TYPE_CHECKING:
    from reynard_diffusion import GenerationResult

PROMPT = "Once upon a time"
MAX_LENGTH = 64


class Measurement(NamedTuple):
    """The measurement of one answer, without its time in the queue.

    `steps` is 0 if a user's own model does not count them.
    """

    tokens: int
    steps: int
    seconds: float
    tokens_per_second: float
    ms_per_step: float

    @classmethod
    def of(cls, result: GenerationResult) -> Measurement:
        tokens, steps = result.tokens_generated, int(result.metadata.get("denoising_steps") or 0)
        seconds = max(result.processing_time - result.metadata["queue_time"], 1e-4)
        ms_per_step = round(1000 * seconds / steps, 2) if steps else 0.0
        return cls(tokens, steps, round(seconds, 4), round(tokens / seconds, 1), ms_per_step)


@click.command("bench")
@click.option("--prompt", type=TEXT, default=PROMPT, show_default=True, help="Text to continue.")
@click.option("--runs", type=click.IntRange(1, 1000), default=3, show_default=True, help="Answers to measure.")
@click.option("--json", "is_json", is_flag=True, help="Print the result as one JSON object.")
@target_options
@parameter_options(Request)
def command(prompt: str, runs: int, is_json: bool, target: Target, parameters: dict[str, Any]) -> None:
    """Measure how fast a model answers: one request at a time, after one that is not counted.

    Steps are denoising steps, each a forward pass. 64 new tokens, unless --max-length says otherwise; run after run
    has another seed.
    """
    asked = {"max_length": MAX_LENGTH, "seed": 0, **parameters}
    with connected(target) as client:
        result = client.generate(prompt, **asked)
        note(f"{result.model_id} on {result.metadata['device']}, up to {asked['max_length']} tokens")
        measured = []
        for number in range(runs):
            result = client.generate(prompt, **{**asked, "seed": asked["seed"] + number})
            measured.append(Measurement.of(result))
    median = Measurement(*map(statistics.median, zip(*measured, strict=True)))
    if is_json:
        setup = {"model_id": result.model_id, "device": result.metadata["device"], "parameters": asked}
        click.echo(json.dumps({**setup, "runs": [run._asdict() for run in measured], "median": median._asdict()}))
        return
    click.echo(table([("", "TOKENS", "STEPS", "SECONDS", "TOKENS/S", "MS/STEP"), *_rows(measured, median)]))


def _rows(measured: list[Measurement], median: Measurement) -> list[tuple[str, ...]]:
    named = [*((f"run {number}", run) for number, run in enumerate(measured, 1)), ("median", median)]
    return [
        (
            name,
            f"{run.tokens:g}",
            f"{run.steps:g}",
            f"{run.seconds:.2f}",
            f"{run.tokens_per_second:.1f}",
            f"{run.ms_per_step:.2f}",
        )
        for name, run in named
    ]
