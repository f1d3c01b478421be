"""Findings of a check, in a sentence each."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Finding(NamedTuple):
    """A finding with its level: a problem stops something from working, a warning makes it worse than it could be.

    The texts of both say what to do.
    """

    level: Literal["ok", "warning", "problem"]
    text: str


def ok(text: str) -> Finding:
    """A finding that all is well."""
    return Finding("ok", text)


def warning(text: str) -> Finding:
    """A finding that something is worse than it could be."""
    return Finding("warning", text)


def problem(text: str) -> Finding:
    """A finding that something does not work."""
    return Finding("problem", text)
