"""The log-probability with which each token of an answer was committed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.engine.canvas.canvas import Canvas
from app.engine.canvas.edits import Edits
from app.engine.interface.events import TokenLogprobs


@dataclass(frozen=True, slots=True)
class _Noted:
    token_id: int
    logprobs: TokenLogprobs

    def num_changes_to(self, token_id: int) -> int:
        """The number of changes of its position, once it has this token."""
        return self.logprobs.num_changes + (token_id != self.token_id)


class LogprobTrack:
    """Holds beside a canvas what was said of each token when it was committed, and follows its edits."""

    def __init__(self) -> None:
        self._open: list[_Noted | None] = []  # of each position of the canvas; of none between two rounds
        self._closed: list[_Noted | None] = []  # of each token of closed rounds
        self._num_steps = 0
        self._num_sent = 0

    def open_round(self, canvas: Canvas) -> None:
        """Begins a round: nothing on its canvas has been committed."""
        self._open = [None] * len(canvas)

    def follow(self, positions: Sequence[int], logprobs: Sequence[TokenLogprobs], edits: Edits) -> None:
        """Takes in a step: what was predicted at `positions`, and what became of it."""
        self._num_steps += 1
        predicted = dict(zip(positions, logprobs, strict=True))
        for position, token_id, _ in edits.committed:
            before = self._open[position]
            noted = replace(
                predicted[position],
                forced=None if edits.forced is None else position in edits.forced,
                step=self._num_steps,
                num_changes=0 if before is None else before.num_changes_to(token_id),
            )
            self._open[position] = _Noted(token_id, noted)
        self._open = [
            followed
            for position, entry in enumerate(self._open)
            if position not in edits.deleted
            for followed in ((None, None) if position in edits.expanded else (entry,))
        ]

    def close_round(self, canvas: Canvas) -> None:
        """Closes a round as `Transcript.close_round` does: masks are left out."""
        span = zip(canvas.span_ids, self._of_span(canvas), strict=True)
        self._closed += [entry for token_id, entry in span if token_id != canvas.mask_id]
        self._open = []

    def take(self, count: int, canvas: Canvas) -> tuple[TokenLogprobs, ...]:
        """Gives those of the next `count` final tokens."""
        start, self._num_sent = self._num_sent, self._num_sent + count
        taken = [*self._closed, *self._of_span(canvas)][start : self._num_sent]
        return tuple(entry.logprobs for entry in taken if entry is not None)

    def _of_span(self, canvas: Canvas) -> list[_Noted | None]:
        return self._open[canvas.span_start : canvas.span_end]
