"""What a request needs from the next forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.engine.decoding.rules import LogitRules


@dataclass(frozen=True, slots=True)
class SequenceInput:
    """One sequence of the batch."""

    ids: Sequence[int]
    wanted: Sequence[int]
    """Positions whose prediction is wanted; logits are computed nowhere else."""


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

    @property
    def num_rows(self) -> int:
        """Rows of logits in the forward pass."""
        return sum(len(sequence.wanted) for sequence in self.sequences)
