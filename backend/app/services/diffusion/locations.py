"""Paths of checkpoints and rules, as settings name them."""

from __future__ import annotations

from pathlib import Path


def path_at(location: str) -> Path:
    """The path, with the home that a `~` stands for. Without such a home it stays as it is, and leads nowhere."""
    try:
        return Path(location).expanduser()
    except RuntimeError:
        return Path(location)
