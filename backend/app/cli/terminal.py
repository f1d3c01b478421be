"""Writes text to a terminal, without its control characters, or unchanged to a pipe or a file."""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

import click


class Glyphs(NamedTuple):
    """The glyphs of positions without text of their own: masks and special tokens."""

    mask: str
    special: str


GLYPHS = (Glyphs("░", "·"), Glyphs("_", "."))
"""The glyphs, and those for a terminal that lacks them."""

_HARMLESS = dict.fromkeys((*range(32), *range(127, 160)), "�") | {
    ord("\n"): "\n",
    ord("\t"): "\t",
    ord("\r"): "",
}


def is_drawable() -> bool:
    """Whether standard output is a terminal that can move its cursor."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def harmless(text: str) -> str:
    """The text without the characters that control a terminal."""
    return text.translate(_HARMLESS)


def write(text: str) -> None:
    """Writes the text of a model at once."""
    click.echo(harmless(text) if sys.stdout.isatty() else text, nl=False)


def end_line(text: str) -> None:
    """Ends the line after `text` on a terminal, so that its next prompt begins on a new line; pipes and files get
    nothing more."""
    if sys.stdout.isatty() and not text.endswith("\n"):
        click.echo()


def glyphs() -> Glyphs:
    """The glyphs that the encoding of standard output can write."""
    try:
        "".join(GLYPHS[0]).encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return GLYPHS[1]
    return GLYPHS[0]
