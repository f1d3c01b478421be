"""The command `reynard-diffusion generate`."""

from __future__ import annotations

from typing import Any

import click

from app.cli.constraint import constraint_options
from app.cli.output import Form, output_options, show, stream_mode
from app.cli.parameters import parameter_options
from app.cli.target import Target, connected, target_options
from app.cli.text_input import given_text
from app.cli.types import TEXT
from app.services.diffusion.models import Request


@click.command("generate")
@click.argument("text", type=TEXT, required=False)
@output_options
@constraint_options
@target_options
@parameter_options(Request)
def command(
    text: str | None, form: Form, constraint: dict[str, Any], target: Target, parameters: dict[str, Any]
) -> None:
    """Continue TEXT, or standard input where it is left out.

    In a terminal the canvas is shown while it denoises; a pipe gets the new text, and nothing else.
    """
    prompt = given_text(text).removesuffix("\n").removesuffix("\r")
    with (
        connected(target) as client,
        client.generate_stream(prompt, **{**parameters, **constraint, "stream_mode": stream_mode(form)}) as stream,
    ):
        show(stream, form, prefix=prompt)
