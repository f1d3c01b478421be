"""The plan of a soak, its table, and its verdict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

MAX_KEPT = 8
"""Files and threads that a server may hold more of than after the warm-up: pools grow a little, connections and engines
are to be gone."""
MAX_GROWTH_AT_ANY_REST = 0.25
"""The largest growth of resident memory at a single rest; allocators fail to give back only little."""
MAX_REASONS = 10
TABLE_HEAD = "elapsed  visits   ok  failed  left  other  in flight   p50 ms   p95 ms  probe ms  resident MB"


@dataclass(frozen=True, slots=True)
class Plan:
    """The duration and intensity of a soak.

    Attributes:
        max_growth: the largest growth of resident memory, from the rest after the warm-up to the last, as a share.
        max_stall_s: the longest time in which the event loop may answer nobody.
        retiring_s: the time within which the last connections end, log lines are written, and retired models closed.
        num_samples: the number of samples of memory at a rest, half a second apart; their median counts.
    """

    duration_s: float
    num_clients: int = 16
    num_rounds: int = 4
    seed: int = 0
    max_growth: float = 0.10
    max_stall_s: float = 2.0
    row_period_s: float = 10.0
    retiring_s: float = 2.0
    num_samples: int = 5


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    elapsed_s: float
    num_visits: int
    num_successful: int
    num_failed: int
    num_left: int
    num_uncounted: int
    num_in_flight: int
    p50_ms: float
    p95_ms: float
    probe_ms: float
    resident_mb: float

    def __str__(self) -> str:
        return (
            f"{self.elapsed_s:6.0f}s {self.num_visits:7} {self.num_successful:5} {self.num_failed:6} {self.num_left:6}"
            f" {self.num_uncounted:6} {self.num_in_flight:10} {self.p50_ms:8.0f} {self.p95_ms:8.0f}"
            f" {self.probe_ms:9.0f} {self.resident_mb:12.1f}"
        )


@dataclass(frozen=True, slots=True)
class Rest:
    """The resources that an idle server holds."""

    resident_mb: float
    anonymous_mb: float
    """The part of it that is no mapped file: weights and libraries are mapped, and leave when memory is short."""
    num_files: int
    num_threads: int

    def __str__(self) -> str:
        memory = f"{self.resident_mb:.1f} MB resident ({self.anonymous_mb:.1f} MB without mapped files)"
        return f"{memory}, {self.num_files} files, {self.num_threads} threads"


@dataclass(slots=True)
class Report:
    """The findings of a soak, which passed if `reasons` is empty."""

    plan: Plan
    rows: list[Row] = field(default_factory=list)
    rests: list[Rest] = field(default_factory=list)
    """The first one is after the warm-up."""
    longest_stall_s: float = 0.0
    reasons: list[str] = field(default_factory=list)
    visits: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def growth(self) -> float:
        """The growth of resident memory at rest, as a share."""
        return self.rests[-1].resident_mb / self.rests[0].resident_mb - 1 if self.rests else 0.0

    @property
    def highest_growth(self) -> float:
        """The largest growth of resident memory at any rest, as a share."""
        return max((rest.resident_mb for rest in self.rests), default=0.0) / self.rests[0].resident_mb - 1

    def excesses(self) -> Iterator[str]:
        """The resources of which the server took or held more than it may."""
        if self.growth > self.plan.max_growth:
            yield f"{self.growth:.1%} more memory resident at the last rest than after the warm-up"
        if self.highest_growth > MAX_GROWTH_AT_ANY_REST:
            yield f"{self.highest_growth:.1%} more memory resident at some rest than after the warm-up"
        first, last = self.rests[0], self.rests[-1]
        if last.num_files > first.num_files + MAX_KEPT:
            yield f"{last.num_files} open files, {first.num_files} after the warm-up"
        if last.num_threads > first.num_threads + MAX_KEPT:
            yield f"{last.num_threads} threads, {first.num_threads} after the warm-up"
        if self.longest_stall_s > self.plan.max_stall_s:
            yield f"the event loop answered nobody for {self.longest_stall_s:.1f} s"

    def blame(self, name: str, reasons: Iterable[str]) -> None:
        """Adds the first few reasons of this kind; a thousand times the same says no more."""
        found = list(reasons)
        self.reasons += [f"{name}: {reason}" for reason in found[:MAX_REASONS]]
        if len(found) > MAX_REASONS:
            self.reasons.append(f"{name}: {len(found) - MAX_REASONS} more of these")

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "growth": round(self.growth, 4), "passed": not self.reasons}

    def verdict(self) -> str:
        counts = [
            f"{name}: {', '.join(f'{key} {n}' for key, n in found.items())}" for name, found in self.visits.items()
        ]
        rests = " -> ".join(f"{rest.resident_mb:.1f}" for rest in self.rests)
        memory = f"resident at rest: {rests} MB ({self.growth:+.1%})"
        lines = [*counts, f"{memory}; longest stall {self.longest_stall_s:.2f} s"]
        return "\n".join([*lines, *(["FAILED", *self.reasons] if self.reasons else ["passed"])])
