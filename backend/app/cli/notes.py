"""Notes of a command beside its output; they go to standard error, so that pipes stay clean."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click


def note(text: str) -> None:
    """Prints a dim line on standard error."""
    click.secho(text, err=True, dim=True)


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Shows on a terminal that something takes time, until the block ends."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(f"{what} …"):
        yield
