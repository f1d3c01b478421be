"""What a request needs from the next forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.engine.decoding.rules import LogitRules


@dataclass(frozen=True, slots=True)
class Window:
    """A sequence whose keys and values are kept from one pass to the next."""

    name: str
    span: tuple[int, int] | None = None
    """Positions [start, end) that are computed anew, beside the kept rest; `None`: all, and they are kept. Until the
    next such pass tokens may come and go inside the span, and nowhere else."""
    renews: bool = False
    """Whether what is computed in the span takes the place of what is kept of it, for later spans without these tokens.
    Else nobody will look at what is kept there. As many tokens as before have to be in it."""


@dataclass(frozen=True, slots=True)
class SequenceInput:
    """One sequence of the batch."""

    ids: Sequence[int]
    wanted: Sequence[int]
    """Positions whose prediction is wanted; logits are computed nowhere else."""
    window: Window | None = None
    revisable: Sequence[int] = ()
    """Positions whose token is looked at again: behind the wanted rows follows one of logits for each, of a mask that
    stands there and sees all of the sequence but this token (WINO's shadow block, arXiv 2507.18578)."""

    @property
    def num_rows(self) -> int:
        return len(self.wanted) + len(self.revisable)

    @property
    def span(self) -> tuple[int, int]:
        """Positions [start, end) that are in the pass."""
        if self.window is None or self.window.span is None:
            return 0, len(self.ids)
        return self.window.span


@dataclass(frozen=True, slots=True)
class Work:
    """All sequences of one request, and how their logits are read."""

    sequences: tuple[SequenceInput, ...]
    rules: LogitRules
    guidance_scale: float = 0.0
    """Above 0 there are two sequences, and the second is the unconditional one."""
    uniforms: tuple[float, ...] = ()
    """One draw from [0, 1) per wanted position, where tokens are sampled."""
    repetition_penalty: float = 1.0
    penalised_ids: tuple[int, ...] = ()
    num_logprobs: int | None = None
    """How many alternatives come with each prediction's log-probability; `None`: not even that."""

    revisable_ids: tuple[int, ...] = ()
    """The tokens whose probability is wanted, at the revisable positions of the only sequence."""
    divergences_name: str | None = None
    """Name under which the distributions are kept, so that the next step can tell how far they have moved."""

    @property
    def num_rows(self) -> int:
        """Rows of logits in the forward pass."""
        return sum(sequence.num_rows for sequence in self.sequences)

    @property
    def kept_names(self) -> set[str]:
        """Names under which something is kept of the request from one pass to the next."""
        names = {sequence.window.name for sequence in self.sequences if sequence.window is not None}
        return names if self.divergences_name is None else {*names, self.divergences_name}
