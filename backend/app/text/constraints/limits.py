"""Limits of the compilation of a constraint, and the budget that is spent under them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from app.text.errors import ConstraintError


@dataclass(frozen=True)
class Limits:
    """The most that one constraint may take: hostile input ends in a ConstraintError, not in a thread that hangs."""

    seconds: float = 5.0
    source_bytes: int = 1_000_000
    nesting: int = 64
    """Groups within groups of a regular expression, or schemas within schemas."""
    nodes: int = 100_000
    """Nodes of the translated schema."""
    nfa_states: int = 200_000
    states: int = 150_000
    """States of each deterministic automaton over bytes."""
    members: int = 3_000_000
    """States of the nondeterministic automaton in all sets of the subset construction together."""
    map_cells: int = 40_000_000
    """Classes of tokens times states."""
    edges: int = 6_000_000
    choices: int = 100_000
    recursion: int = 3
    """Times that a reference may stand within itself."""
    free_depth: int = 3
    """Levels of arrays and objects in a value that a schema leaves open."""


DEFAULT_LIMITS = Limits()


@dataclass
class Budget:
    """A count of the time and memory that one constraint has taken, against its limits."""

    limits: Limits = DEFAULT_LIMITS
    members: int = 0
    nodes: int = 0
    deadline: float = field(init=False)

    def __post_init__(self) -> None:
        self.deadline = time.monotonic() + self.limits.seconds

    def check_time(self) -> None:
        """Raises ConstraintError once the time is over; every long loop calls it."""
        if time.monotonic() > self.deadline:
            raise ConstraintError(
                f"The constraint takes longer than {self.limits.seconds:g} seconds to compile. "
                "Make it smaller: fewer alternatives, smaller bounds of repetition."
            )

    def spend_members(self, count: int) -> None:
        """Counts the members of one more set of the subset construction."""
        self.members += count
        check_size("memory for its automaton", self.members, self.limits.members)
        self.check_time()

    def spend_node(self) -> None:
        """Counts one more node of a translated schema."""
        self.nodes += 1
        check_size("nodes", self.nodes, self.limits.nodes)
        self.check_time()


def check_size(name: str, size: int, limit: int) -> None:
    """Raises ConstraintError where a size is above its limit."""
    if size > limit:
        raise ConstraintError(
            f"The constraint is too large: it needs more {name} than the limit of {limit:,}. "
            "Make it smaller: fewer alternatives, smaller bounds of repetition (maxLength, maxItems, {m,n})."
        )
