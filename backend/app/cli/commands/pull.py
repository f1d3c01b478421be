"""The command `reynard-diffusion pull`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from app.cli.failure import Failure
from app.cli.notes import note
from app.cli.types import TEXT


@click.command("pull")
@click.argument("hub_id", type=TEXT)
@click.option("--to", type=click.Path(path_type=Path, file_okay=False), help="Folder to put it in; default the cache.")
@click.option("--revision", type=TEXT, help="Branch, tag or commit; default the main branch.")
def command(hub_id: str, to: Path | None, revision: str | None) -> None:
    """Download the checkpoint or adapter HUB_ID, such as Dream-org/DreamOn-v0-7B, and print its folder.

    Only what is needed comes: configuration, weights as safetensors, tokenizer. No code and no pickle does. A download
    that broke off goes on where it was.
    """
    from app.engine.families.adapter_files import is_adapter
    from app.engine.interface.errors import CheckpointError
    from app.services.diffusion.native.checkpoints import download, is_hub_id

    if not is_hub_id(hub_id):
        raise click.UsageError(f"{hub_id!r} is no id of a hub repository; give organisation/name")
    try:
        folder = download(hub_id, to=to, revision=revision, shows_progress=sys.stderr.isatty())
    except CheckpointError as error:
        raise Failure(str(error)) from error
    click.echo(folder)
    if is_adapter(folder):
        setting = f"DIFFUSION_ADAPTERS={shlex.quote(f'name=base:{folder}')}"
    else:
        setting = f"DIFFUSION_EXTRA_MODELS={shlex.quote(f'name={folder}')}"
    note(f"serve it under a name of your own: {setting} reynard-diffusion serve")
