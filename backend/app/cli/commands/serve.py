"""The command `reynard-diffusion serve`."""

from __future__ import annotations

from typing import Any

import click

from app.cli.types import TEXT


@click.command("serve")
@click.option("--host", type=TEXT, help="Address to listen on; default DIFFUSION_HOST, or 127.0.0.1.")
@click.option("--port", type=click.IntRange(1, 65_535), help="Port to listen on; default DIFFUSION_PORT, or 8000.")
@click.pass_context
def command(ctx: click.Context, /, **given: Any) -> None:
    """Start the server.

    All other settings come from the environment and from .env in this folder; see diffusion_config_example.env.
    """
    from app.cli.server_process import run_server

    ctx.exit(run_server(**{name: value for name, value in given.items() if value is not None}))
