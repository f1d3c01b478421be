"""What a command says beside its output: on standard error, so that pipes stay clean."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click


def note(text: str) -> None:
    click.secho(text, err=True, dim=True)


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Shows that something takes its time, where somebody is there to see it."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(f"{what} …"):
        yield
