"""Reads the text of a command from its argument, from standard input or from a file."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from app.cli.failure import Failure


def given_text(argument: str | None) -> str:
    """The argument, or standard input if it is left out or `-`.

    Raises:
        click.UsageError: there is neither.
        Failure: standard input is not UTF-8.
    """
    if argument not in (None, "-"):
        return str(argument)
    if sys.stdin.isatty():
        raise click.UsageError("give the text as an argument, or on standard input")
    return decoded(sys.stdin.buffer.read(), "standard input")


def text_of_file(path: Path) -> str:
    """The whole text of a file, with its line ends unchanged.

    Raises:
        Failure: it cannot be read, or is not UTF-8.
    """
    try:
        return decoded(path.read_bytes(), str(path))
    except OSError as error:
        raise Failure(f"{path} cannot be read: {error.strerror}") from error


def decoded(content: bytes, source: str) -> str:
    """The content as text; `source` names it in the message.

    Raises:
        Failure: it is not UTF-8.
    """
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise Failure(f"{source} is no text in UTF-8: {error.reason} at byte {error.start}") from error
