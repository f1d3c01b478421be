"""The command `reynard-diffusion doctor`."""

from __future__ import annotations

import json
from itertools import chain

import click

from app.cli import exit_codes
from app.cli.notes import waiting
from app.cli.target import api_key_option, url_option

COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}


@click.command("doctor")
@click.option("--json", "is_json", is_flag=True, help="Print the findings as a JSON list.")
@url_option
@api_key_option
@click.pass_context
def command(ctx: click.Context, is_json: bool, url: str | None, api_key: str) -> None:
    """Say what is wrong with this machine or its settings.

    Looks at Python, PyTorch, GPUs, memory, threads, the settings in the environment and in .env, the checkpoints, the
    port, and the server at --url if one is named. The exit code is 1 if there is a problem.
    """
    with waiting("examining"):
        from app.cli.doctor.machine import check_machine
        from app.cli.doctor.setup import check_setup

        findings = list(chain(check_machine(), check_setup(url, api_key)))
    if is_json:
        click.echo(json.dumps([finding._asdict() for finding in findings]))
    else:
        for level, text in findings:
            click.echo(f"{click.style(level.ljust(8), fg=COLOURS[level])} {text}")
    if any(finding.level == "problem" for finding in findings):
        ctx.exit(exit_codes.FAILED)
