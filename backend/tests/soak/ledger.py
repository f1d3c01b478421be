"""Records the clients' view of a soak, and compares it with the server's counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Seen(StrEnum):
    """The end of a visit as its client saw it."""

    SUCCESSFUL = "successful"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LEFT = "left"
    """The client went away after the first event: the request was counted, under whatever it had come to."""
    GONE = "gone"
    """The client went away before the first byte of the answer: it may have been counted, or never have arrived."""
    UNCOUNTED = "uncounted"
    """Refused before it became a request, or no request at all."""


COUNTED = (Seen.SUCCESSFUL, Seen.FAILED, Seen.CANCELLED)

OUTCOME_OF_CODE: Mapping[str, Seen] = {
    "cancelled": Seen.CANCELLED,
    **dict.fromkeys(
        (
            "generation_failed",
            "model_unavailable",
            "disabled",
            "queue_full",
            "out_of_memory",
            "timeout",
        ),
        Seen.FAILED,
    ),
}
"""Error codes of requests that have been counted; all other refusals come before."""


@dataclass(frozen=True, slots=True)
class Visit:
    """One thing that a client did."""

    kind: str
    seen: Seen
    code: str = ""
    request_id: str = ""
    duration_s: float = 0.0
    num_tokens: int = 0
    complaint: str = ""
    """The client's complaint about something unexpected."""


class Ledger:
    """All visits so far."""

    def __init__(self) -> None:
        self.by_seen: Counter[Seen] = Counter()
        self.by_kind: Counter[str] = Counter()
        self.by_code: Counter[str] = Counter()
        self.complaints: list[str] = []
        self.durations_s: list[float] = []
        self.num_tokens = 0
        self._seen_of: dict[str, Seen] = {}

    def note(self, visit: Visit) -> None:
        self.by_seen[visit.seen] += 1
        self.by_kind[visit.kind] += 1
        if visit.code:
            self.by_code[visit.code] += 1
        if visit.complaint:
            self.complaints.append(f"{visit.kind}: {visit.complaint}")
        if visit.seen is Seen.SUCCESSFUL:
            self.durations_s.append(visit.duration_s)
            self.num_tokens += visit.num_tokens
        if visit.request_id and visit.seen is not Seen.UNCOUNTED:
            self._note_id(visit)

    @property
    def num_visits(self) -> int:
        return self.by_seen.total()

    def differences(
        self, statistics: Mapping[str, Any], metrics: Mapping[str, float], ends: Mapping[str, list[str]]
    ) -> Iterator[str]:
        """The contradictions between the clients' view and an idle server's statistics, metrics and log.

        Args:
            metrics: the sums over labels, by name.
            ends: the outcomes in the log per request id, without refusals.
        """
        yield from self._lost_or_invented(statistics)
        yield from _contradictions(statistics, metrics, ends)
        yield from self._wrong_ends(ends)

    def _note_id(self, visit: Visit) -> None:
        if visit.request_id in self._seen_of:
            self.complaints.append(f"{visit.kind}: the request id {visit.request_id} was given twice")
        self._seen_of[visit.request_id] = visit.seen

    def _lost_or_invented(self, statistics: Mapping[str, Any]) -> Iterator[str]:
        """Clients that went away do not know how their requests ended, so they are the width of each bracket."""
        left, gone = self.by_seen[Seen.LEFT], self.by_seen[Seen.GONE]
        certain = sum(self.by_seen[seen] for seen in COUNTED) + left
        yield from _outside("total_requests", statistics, certain, certain + gone)
        for seen in COUNTED:
            least = self.by_seen[seen]
            yield from _outside(f"{seen}_requests", statistics, least, least + left + gone)
        if self.num_tokens > statistics["total_tokens_generated"]:
            yield f"clients were told of {self.num_tokens} tokens, {statistics['total_tokens_generated']} were counted"

    def _wrong_ends(self, ends: Mapping[str, list[str]]) -> Iterator[str]:
        for request_id, seen in self._seen_of.items():
            told = ends.get(request_id, [])
            if len(told) != 1:
                yield f"request {request_id}, {seen} to its client, ended {len(told)} times: {told}"
            elif seen in COUNTED and told[0] != seen:
                yield f"request {request_id}, {seen} to its client, was counted as {told[0]}"


def _outside(name: str, statistics: Mapping[str, Any], least: int, most: int) -> Iterator[str]:
    if not least <= statistics[name] <= most:
        yield f"{name} is {statistics[name]}, the clients saw {least} to {most}"


def _contradictions(
    statistics: Mapping[str, Any], metrics: Mapping[str, float], ends: Mapping[str, list[str]]
) -> Iterator[str]:
    total = statistics["total_requests"]
    parts = sum(statistics[f"{seen}_requests"] for seen in COUNTED)
    if parts + statistics["requests_in_flight"] != total:
        yield f"total_requests is {total}, its parts are {parts} and {statistics['requests_in_flight']} in flight"
    if metrics.get("reynard_requests_total", 0) != total:
        yield f"total_requests is {total}, the metrics say {metrics.get('reynard_requests_total', 0):g}"
    num_ends = sum(map(len, ends.values()))
    if num_ends != total:
        yield f"total_requests is {total}, the log tells of {num_ends} ends"
    for name in ("requests_in_flight", "requests_running", "requests_waiting"):
        if metrics.get(f"reynard_{name}", 0):
            yield f"{metrics[f'reynard_{name}']:g} {name.replace('_', ' ')} on an idle server: a place is stuck"
