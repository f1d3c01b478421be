"""The command `reynard-diffusion infill`."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import click

from app.cli.constraint import constraint_options
from app.cli.failure import Failure
from app.cli.notes import note
from app.cli.output import Form, output_options, show, stream_mode
from app.cli.parameters import parameter_options
from app.cli.target import Target, connected, target_options
from app.cli.terminal import end_line, write
from app.cli.text_input import given_text, text_of_file
from app.cli.types import TEXT
from app.services.diffusion.models import MAX_SIDE_CHARACTERS, Request

MARKER = "<FILL>"


class Gap(NamedTuple):
    """The text on both sides of a gap."""

    prefix: str
    suffix: str

    def filled(self, text: str) -> str:
        """The whole text; the answer already has the line ends of the text around it."""
        return self.prefix + text + self.suffix

    def for_model(self) -> Gap:
        """The part of the text that the model sees: no more than a request may hold."""
        if max(map(len, self)) > MAX_SIDE_CHARACTERS:
            note(f"the model sees only the {MAX_SIDE_CHARACTERS} characters on each side of the gap")
        return Gap(self.prefix[-MAX_SIDE_CHARACTERS:], self.suffix[:MAX_SIDE_CHARACTERS])


@click.command("infill")
@click.argument("text", type=TEXT, required=False)
@click.option("--file", type=click.Path(path_type=Path), help="Take the text from this file.")
@click.option("--in-place", is_flag=True, help="Write the filled text back to --file.")
@click.option(
    "--marker", type=TEXT, default=MARKER, show_default=True, help="Where the gap is; it must be there exactly once."
)
@output_options
@constraint_options
@target_options
@parameter_options(Request)
def command(
    text: str | None,
    file: Path | None,
    in_place: bool,
    marker: str,
    form: Form,
    constraint: dict[str, Any],
    target: Target,
    parameters: dict[str, Any],
) -> None:
    """Fill the gap in TEXT, in --file, or in standard input. The gap is where <FILL> stands.

    A pipe gets the whole filled text, so that infill is a filter like others.
    """
    if file is not None and text is not None:
        raise click.UsageError("give TEXT or --file, not both")
    if in_place and file is None:
        raise click.UsageError("--in-place needs --file")
    gap = _gap(given_text(text) if file is None else text_of_file(file), marker)
    sides = gap.for_model()
    with (
        connected(target) as client,
        client.infill_stream(*sides, **{**parameters, **constraint, "stream_mode": stream_mode(form)}) as stream,
    ):
        if form != "plain":
            show(stream, form, prefix=gap.prefix, suffix=gap.suffix)
        filled = gap.filled(stream.result().text)
    if form == "plain" and not in_place:
        write(filled)
        end_line(filled)
    if file is not None and in_place:
        _replace(file, filled)


def _gap(text: str, marker: str) -> Gap:
    prefix, *suffixes = text.split(marker) if marker else [text]
    if len(suffixes) != 1:
        raise click.UsageError(f"the text holds {marker!r} {len(suffixes)} times; put it once, where the gap is")
    return Gap(prefix, suffixes[0])


def _replace(path: Path, text: str) -> None:
    """Writes a file as a whole or not at all."""
    home = path.resolve()
    try:
        descriptor, name = tempfile.mkstemp(dir=home.parent, prefix=f".{home.name}.")
        try:
            with os.fdopen(descriptor, "wb") as new:
                new.write(text.encode())
            shutil.copymode(home, name)
            os.replace(name, home)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise Failure(f"{path} cannot be written: {error.strerror}; it is as it was") from error
    note(f"filled {path}")
