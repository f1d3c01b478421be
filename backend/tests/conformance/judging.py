"""Golden cases, and the words in which a judge says no."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.engine.canvas.special import SpecialIds
from app.engine.interface.events import EngineEvent, Failed, Finished
from app.engine.interface.params import GenerationRequest
from tests.conformance.traces import Trace

Raw = Mapping[str, Any]


class Mismatch(Exception):
    """The case failed; the message says where."""


@dataclass(frozen=True)
class Case:
    """One golden case, or one tokenizer."""

    label: str
    """Unique in its folder."""
    file: Path
    checkpoint: Path
    raw: Raw


def expect(is_so: bool, message: str) -> None:
    """Raises `Mismatch` with `message` unless `is_so`."""
    if not is_so:
        raise Mismatch(message)


def only_known(raw: Raw, known: Iterable[str]) -> None:
    surplus = sorted(raw.keys() - set(known))
    expect(not surplus, f"parameters that are not understood: {', '.join(surplus)}")


@dataclass(frozen=True)
class DecodingCase:
    """A case that is one or more requests, judged by their traces."""

    requests: tuple[GenerationRequest, ...]
    judge: Callable[[Sequence[Trace]], None]
    special: SpecialIds | None = None
    """The ids with a role, where the case has others than the checkpoint."""

    @property
    def special_by_request(self) -> dict[str, SpecialIds | None]:
        return {request.request_id: self.special for request in self.requests}


def compare_canvases(actual: Sequence[Sequence[int]], golden: Sequence[Sequence[int]], where: str) -> None:
    for step, (ours, theirs) in enumerate(zip(actual, golden, strict=False)):
        expect(list(ours) == list(theirs), f"{where}: the canvas after step {step} differs")
    expect(len(actual) == len(golden), f"{where}: {len(actual)} canvases, expected {len(golden)}")


def expect_one_end(events: Sequence[EngineEvent]) -> None:
    ends = [event for event in events if isinstance(event, Finished | Failed)]
    expect(len(ends) == 1 and ends[0] is events[-1], "the request did not end exactly once")
