"""The commit rule: the parameter that switches it on, the signals that it needs of a step, and its choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from app.engine.decoding import selection
from app.engine.decoding.rules import Score
from app.engine.decoding.step import Signal
from app.engine.interface.errors import InvalidRequest
from app.engine.interface.params import DecodingParams, asks_for


@dataclass(frozen=True, slots=True)
class Candidates:
    """The predictions of one step, in the order of their positions."""

    positions: Sequence[int]
    scores: Sequence[float]
    """Confidences; negative entropies where the rule ranks by those."""
    divergences: Sequence[float] = ()
    """Distance of each distribution from that of the step before, in nats, where the rule needs it."""


class CommitRule:
    """Chooses what one request commits, from the start of a round to its end. Indices count within a step's candidates.

    A rule only says what is confident. How many are committed at least, whatever the rule says, is up to the sampler.
    """

    PARAMETER: ClassVar[str]
    """The name of the parameter that switches the rule on, by any value but `None`."""
    REFINES: ClassVar[str | None] = None
    """The parameter of the rule that this one narrows or widens, and has to stand beside; `None`: it stands alone."""
    NEEDS: ClassVar[frozenset[Signal]]
    """Signals that a step has to give. Samplers that do not give them do not take the rule."""
    RANKS_BY: ClassVar[Score] = Score.PROBABILITY
    EXCLUDES: ClassVar[tuple[str, ...]] = ()
    """Parameters that cannot be used beside the rule."""
    BECAUSE: ClassVar[str] = ""
    """Why not; follows the parameter's name in the error."""
    is_adaptive: ClassVar[bool] = True
    """Whether a step commits as much as is confident. Else it commits what the schedule says."""

    def __init__(self, params: DecodingParams) -> None:
        """Takes the parameters of a request that switches the rule on."""

    @classmethod
    def is_on(cls, params: object) -> bool:
        """Whether a request, in the engine's words or in those of the wire, switches the rule on."""
        return getattr(params, cls.PARAMETER, None) is not None

    @classmethod
    def check(cls, params: DecodingParams) -> None:
        """Refuses what does not go with the rule, which is switched on.

        Raises:
            InvalidRequest: names the rule's parameter and the others.
        """
        if any(asks_for(params, name) for name in cls.EXCLUDES):
            raise InvalidRequest(
                f"{cls.PARAMETER} {cls.BECAUSE}; leave {' and '.join(cls.EXCLUDES)} out", field=cls.PARAMETER
            )

    def choose(self, candidates: Candidates, least: int = 1) -> list[int]:
        """Gives the indices of what is committed: what is confident, and of the others the best until there are
        `least`."""
        confident = self.confident(candidates)
        if not confident:
            return selection.best(candidates.scores, least)
        ranking = selection.best(candidates.scores, len(candidates.scores)) if len(confident) < least else []
        others = [index for index in ranking if index not in confident]
        return [*confident, *others[: max(least - len(confident), 0)]]

    def confident(self, candidates: Candidates) -> list[int]:
        """Gives the indices of what is confident enough; there may be none."""
        raise NotImplementedError

    # What the rules that take commits back do beside that.

    @property
    def revisable(self) -> tuple[int, ...]:
        """The positions whose commits may be revoked, in reading order."""
        return ()

    def begin_block(self) -> None:
        """Begins anew: what has been committed so far stands."""

    def revoked(self, support: Sequence[float], committed: Sequence[int]) -> list[int]:
        """Gives the revisable positions that become masks again, and notes what the step has committed.

        Args:
            support: probability of the token at each revisable position, seen from the rest of the canvas.
            committed: positions, in reading order.
        """
        return []
