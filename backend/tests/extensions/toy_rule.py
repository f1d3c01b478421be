"""A commit rule that is not part of the program. In it, this file would stand in `engine/decoding/commit/`."""

from __future__ import annotations

from dataclasses import dataclass

from app.engine.decoding.commit.rule import Candidates, CommitRule
from app.engine.decoding.selection import best
from app.engine.decoding.step import Signal
from app.engine.interface.params import Count, DecodingParams


@dataclass(frozen=True, slots=True)
class ToyParams(DecodingParams):
    """The engine's parameters with one more line."""

    least_distance: Count | None = None


class Apart(CommitRule):
    """Commits the most confident first, and with them whatever is far enough away from everything chosen so far: what
    stands side by side depends on each other most."""

    PARAMETER = "least_distance"
    NEEDS = frozenset({Signal.CONFIDENCES})
    EXCLUDES = ("steps",)
    BECAUSE = "takes as many steps as it needs"

    def __init__(self, params: DecodingParams) -> None:
        assert isinstance(params, ToyParams)
        assert params.least_distance is not None
        self._least_distance = params.least_distance

    def confident(self, candidates: Candidates) -> list[int]:
        chosen: list[int] = []
        for index in best(candidates.scores, len(candidates.scores)):
            position = candidates.positions[index]
            if all(abs(position - candidates.positions[other]) >= self._least_distance for other in chosen):
                chosen.append(index)
        return chosen
