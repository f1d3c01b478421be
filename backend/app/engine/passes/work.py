"""The work of one request in the next forward pass: its sequences, and how their logits are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.engine.cache.span import WHOLE, ComputedSpan
from app.engine.decoding.adjustment import NO_ADJUSTMENT, Adjustment
from app.engine.decoding.constrained import ConstrainedRows
from app.engine.decoding.rules import LogitRules
from app.engine.models.adapters import Adapter


@dataclass(frozen=True, slots=True)
class SequenceInput:
    """One sequence of the batch."""

    ids: Sequence[int]
    wanted: Sequence[int]
    """Positions whose prediction is wanted; logits are computed nowhere else."""
    cache_name: str | None = None
    """Name under which its keys and values are cached from one pass to the next; `None`: they are not."""
    span: ComputedSpan = WHOLE
    """The part of it that the pass computes: everything, where nothing is cached."""
    block_length: int | None = None
    """Positions of a block, where a token sees its own block and those before it; `None`: as the model has it."""
    revisable: Sequence[int] = ()
    """Positions whose token is looked at again: behind the wanted rows follows one of logits for each, of a mask that
    stands there and sees all of the sequence but this token (WINO's shadow block, arXiv 2507.18578)."""
    adapter: Adapter | None = None
    """The adapter that changes the model for this sequence; `None`: the model as it is."""

    @property
    def num_rows(self) -> int:
        """Rows of logits that it gets."""
        return len(self.wanted) + len(self.revisable)

    @property
    def bounds(self) -> tuple[int, int]:
        """Positions [start, end) that are in the pass."""
        return self.span.bounds or (0, len(self.ids))

    @property
    def num_behind(self) -> int:
        """Number of tokens behind those that are in the pass."""
        return len(self.ids) - self.bounds[1]

    @property
    def is_whole(self) -> bool:
        """Whether it is computed from its beginning to its end, whatever is cached of it."""
        return self.span.bounds is None or (self.span.cached_to is not None and self.span.bounds[0] == 0)

    @property
    def whole(self) -> SequenceInput:
        """The sequence, computed from its beginning to its end."""
        if self.span.cached_to is not None:
            return replace(self, span=replace(self.span, bounds=(0, len(self.ids))))
        return self if self.span.bounds is None else replace(self, span=WHOLE)


@dataclass(frozen=True, slots=True)
class Work:
    """All sequences of one request, and how their logits are read."""

    sequences: tuple[SequenceInput, ...]
    rules: LogitRules
    guidance_scale: float = 0.0
    """Above 0 there are two sequences, and the second is the unconditional one."""
    uniforms: tuple[float, ...] = ()
    """One draw from [0, 1) per wanted position, where tokens are sampled."""
    adjustment: Adjustment = NO_ADJUSTMENT
    num_logprobs: int | None = None
    """Number of alternatives that come with each prediction's log-probability; `None`: no log-probabilities."""
    revisable_ids: tuple[int, ...] = ()
    """The tokens whose probability is wanted, at the revisable positions of the only sequence."""
    divergences_name: str | None = None
    """Name under which the distributions are cached, so that the next step can say how far they have moved."""
    constrained: tuple[ConstrainedRows, ...] = ()
    """The rows that have to spell an allowed text, one such part for each sequence; empty: none have to."""
    scored_ids: tuple[tuple[int, ...], ...] = ()
    """For each wanted position the tokens whose log-probability is all that is asked for; empty where tokens are
    predicted."""

    @property
    def num_rows(self) -> int:
        """Rows of logits in the forward pass."""
        return sum(sequence.num_rows for sequence in self.sequences)

    @property
    def cache_names(self) -> set[str]:
        """Names under which anything of the request is cached from one pass to the next."""
        names = {sequence.cache_name for sequence in self.sequences} | {self.divergences_name}
        return {name for name in names if name is not None}
