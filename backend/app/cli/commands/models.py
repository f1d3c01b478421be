"""The command `reynard-diffusion models`."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from app.cli.table import table
from app.cli.target import Target, connected, target_options


@click.command("models")
@click.option("--json", "is_json", is_flag=True, help="Print them as a JSON list.")
@target_options
def command(is_json: bool, target: Target) -> None:
    """List the models that answer.

    MB is the size of the weights, NEEDS what they take together with as many requests as are answered at a time.
    """
    with connected(target) as client:
        models = client.models()
    if is_json:
        click.echo(json.dumps([asdict(model) for model in models]))
        return
    rows = [("MODEL", "LOADED", "DEVICE", "MB", "NEEDS", "MAX LENGTH", "CAN", "BASE", "")]
    for model in models:
        available = "yes" if model.is_available else "no"
        needs = "" if model.memory_needed is None else f"{model.memory_needed:.1f}"
        numbers = (f"{model.memory_usage:.1f}", needs, str(model.max_length))
        can = ", ".join(model.capabilities)
        base = model.base_model or ""
        rows.append((model.model_id, available, model.device, *numbers, can, base, model.description))
    click.echo(table(rows))
