"""Where the text goes: to a terminal, which obeys what it is sent, or to a pipe or a file, which get it as it is."""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

import click


class Glyphs(NamedTuple):
    """How a position looks that holds no text of its own."""

    mask: str
    special: str


GLYPHS = (Glyphs("░", "·"), Glyphs("_", "."))
"""The second ones where the terminal lacks the first."""

_HARMLESS = dict.fromkeys((*range(32), *range(127, 160)), "�") | {
    ord("\n"): "\n",
    ord("\t"): "\t",
    ord("\r"): "",
}


def is_drawable() -> bool:
    """Whether it is a terminal that can move its cursor."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def harmless(text: str) -> str:
    """Text without what a terminal would obey."""
    return text.translate(_HARMLESS)


def write(text: str) -> None:
    """Text of a model, at once."""
    click.echo(harmless(text) if sys.stdout.isatty() else text, nl=False)


def end_line(text: str) -> None:
    """After `text`, lets a terminal's next prompt begin on a line of its own; pipes and files get nothing more."""
    if sys.stdout.isatty() and not text.endswith("\n"):
        click.echo()


def glyphs() -> Glyphs:
    try:
        "".join(GLYPHS[0]).encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return GLYPHS[1]
    return GLYPHS[0]
