"""The changes that one step makes to a canvas."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Edits:
    """The changes of one step. Positions are those before any deletion or expansion of the step."""

    committed: tuple[tuple[int, int, float], ...] = ()
    """(position, token id, confidence)"""
    deleted: tuple[int, ...] = ()
    expanded: tuple[int, ...] = ()
    forced: tuple[int, ...] | None = None
    """Positions of the commits for which a constraint left no other token; `None` without one, or where nobody asks."""
    revoked: tuple[int, ...] = ()
    """Commits of earlier steps that are masks again."""
