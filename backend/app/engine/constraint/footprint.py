"""The memory that an automaton comes to hold while requests use it, and how many masks a step may predict by it."""

from __future__ import annotations

import numpy as np

from app.engine.constraint.automaton import TokenAutomaton
from app.engine.constraint.lengths import MAX_KEPT

_MAX_EDGES = 6_000_000
"""Edges of the automaton over all masks of a canvas that are predicted together: some 300 MB while they are. A pass
that tries several lengths has a canvas for each, the longest of them within this: up to four and a half times as many
edges."""

# Bytes for one of each, summed over the arrays that are derived (`automaton.py`, `moves.py`).
_PER_EDGE = 44  # three int32 columns, the order by class; and three times its class among the members of kinds
_PER_MOVE = 48  # its columns, its rank; and two numbers of its kind, of which there are no more than moves
_PER_STATE = 25  # its first edge, its distance, its place by rank, and whether it accepts
_PER_CLASS = 72  # where it begins in three orders, and once more as a plain number
_PER_TOKEN = 4  # its class
_PER_USED_TOKEN = 8  # its place among those of its class
_PER_ARRAY = 128  # an object of its own: of each length, and of each rank of moves
_OF_OBJECTS = 16_384


def most_at_once(automaton: TokenAutomaton) -> int:
    """Gives the masks that a step may predict together, so that its work stays bounded. 12,000 edges: 500 masks."""
    return max(1, _MAX_EDGES // len(automaton.labels))


def most_bytes(automaton: TokenAutomaton) -> int:
    """Gives the most bytes that an automaton holds with all that is derived of it, and with the automaton that it
    becomes by ends of the text, of which the same is derived. Tokens that only end a text are not counted."""
    num_ends = int(np.count_nonzero(automaton.accepting)) + 1  # edges and moves of the end
    return 2 * _own_bytes(automaton, num_ends)


def _own_bytes(automaton: TokenAutomaton, num_ends: int) -> int:
    pairs = np.unique(automaton.sources.astype(np.int64) * automaton.num_states + automaton.targets)
    most_moves_of_state = int(np.bincount(pairs // automaton.num_states).max()) + 1
    num_states = automaton.num_states + 1
    return (
        _PER_EDGE * (len(automaton.labels) + num_ends)
        + _PER_MOVE * (len(pairs) + num_ends)
        + (_PER_STATE + MAX_KEPT // 8) * num_states
        + _PER_CLASS * (automaton.num_classes + 1)
        + _PER_TOKEN * len(automaton.classes)
        + _PER_USED_TOKEN * int(np.count_nonzero(automaton.classes))
        + _PER_ARRAY * (MAX_KEPT + most_moves_of_state)
        + _OF_OBJECTS
    )
