"""What a check has found, in a sentence."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Finding(NamedTuple):
    """A problem keeps something from working; a warning makes it worse than it could be. Both say what to do."""

    level: Literal["ok", "warning", "problem"]
    text: str


def ok(text: str) -> Finding:
    return Finding("ok", text)


def warning(text: str) -> Finding:
    return Finding("warning", text)


def problem(text: str) -> Finding:
    return Finding("problem", text)
