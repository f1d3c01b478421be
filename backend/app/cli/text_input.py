"""Text that a command is given: as an argument, or on standard input."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from app.cli.failure import Failure


def given_text(argument: str | None) -> str:
    """The argument, or standard input where it is left out or `-`.

    Raises:
        click.UsageError: neither is there.
        Failure: what comes is no UTF-8.
    """
    if argument not in (None, "-"):
        return str(argument)
    if sys.stdin.isatty():
        raise click.UsageError("give the text as an argument, or on standard input")
    return decoded(sys.stdin.buffer.read(), "standard input")


def text_of_file(path: Path) -> str:
    """All of a file, its line ends as they are.

    Raises:
        Failure: it cannot be read, or is no UTF-8.
    """
    try:
        return decoded(path.read_bytes(), str(path))
    except OSError as error:
        raise Failure(f"{path} cannot be read: {error.strerror}") from error


def decoded(content: bytes, source: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise Failure(f"{source} is no text in UTF-8: {error.reason} at byte {error.start}") from error
