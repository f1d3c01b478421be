"""The constraint of a request: which text a canvas of it may still become, round by round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from app.engine.canvas.canvas import Canvas
from app.engine.constraint.automaton import Bools
from app.engine.constraint.lattice import FREE, OPEN, Lattice
from app.engine.decoding.constrained import ConstrainedRows, LengthTokens
from app.engine.families.base import Family
from app.engine.families.registry import family_named
from app.engine.interface.errors import InvalidRequest
from app.engine.interface.params import GenerationRequest
from app.engine.models.base import ModelConfig


class TextConstraint:
    """Says what the canvases of one request may still become.

    In families of fixed length the text may be shorter than its span where end tokens may fill the rest; else it is as
    long as the span. Where a canvas changes its length, it may at any time be filled as it stands.
    """

    def __init__(self, request: GenerationRequest, config: ModelConfig) -> None:
        assert request.constraint is not None
        family = family_named(config.family)
        params = request.params
        self._max_new_tokens = params.max_new_tokens
        self._open_ended = request.open_ended
        self._changes_length = family.span.changes_length
        self._length_tokens = _length_tokens(family, config)
        self._fills_up = not self._changes_length and not params.eos_never_predicted
        turn = () if params.end_of_turn is None else (params.end_of_turn,)
        ends = tuple(dict.fromkeys((*config.special.ends, *turn)))
        self._texts = request.constraint
        self._automaton = request.constraint.closed_by(ends) if self._fills_up else request.constraint
        self._state = 0
        self._num_closed = 0
        self._capacity = 0
        self._ends_here = False
        if params.pad_delete_to_right:
            raise InvalidRequest(
                "pad_delete_to_right deletes masks that a constraint may need; leave one out",
                field="pad_delete_to_right",
            )

    @property
    def least_tokens(self) -> int:
        """The least number of tokens that complete the text."""
        return int(self._texts.distances[self._state])

    def check(self) -> None:
        """Refuses a request in which no allowed text has room.

        Raises:
            InvalidRequest: says the least length.
        """
        if self.least_tokens > self._max_new_tokens:
            raise InvalidRequest(
                f"the shortest text that the constraint allows has {self.least_tokens} tokens of this model, and "
                f"{self._max_new_tokens} are asked for; ask for {self.least_tokens} at least",
                field="max_new_tokens",
            )
        if not self._open_ended and self.least_tokens > self._capacity:
            raise InvalidRequest(
                f"the shortest text that the constraint allows has {self.least_tokens} tokens of this model, and the "
                f"context has room for {self._capacity} beside the given text; shorten that",
                field="constraint",
            )
        if not any(self._may_begin(length) for length in range(self._capacity + 1)):
            raise InvalidRequest(
                f"the constraint allows no text of exactly {self._max_new_tokens} tokens of this model, and the end of "
                "the text may not come before; let it, or ask for another length",
                field="max_new_tokens",
            )

    # A round.

    def open_round(self, capacity: int) -> None:
        """Begins a round whose canvas has room for so many new tokens."""
        self._capacity = capacity
        self._ends_here = self._changes_length and self.least_tokens <= capacity

    def lengths(self, wanted: Sequence[int]) -> tuple[int, ...]:
        """Gives the lengths that the span may begin with, in ascending order: for each that is wanted the next longer
        one for which there is a text, or the longest. Texts of 3 or 7 tokens and 2, 4 and 8 wanted: 3 and 7."""
        possible = np.flatnonzero([self._may_begin(length) for length in range(self._capacity + 1)])
        found = np.searchsorted(possible, wanted).clip(max=len(possible) - 1)
        return tuple(sorted({int(length) for length in possible[found]}))

    def _may_begin(self, length: int) -> bool:
        """Whether there is a text for a span that begins with so many masks."""
        return bool(self._ends(length, num_free=length)[self._state])

    def rows(self, canvas: Canvas, positions: Sequence[int]) -> ConstrainedRows:
        """Gives what the tokens that are predicted at `positions` of a canvas have to spell together."""
        row_at = {position: row for row, position in enumerate(positions)}
        span = range(canvas.span_start, canvas.span_end)
        first = next((position for position in span if canvas.ids[position] == canvas.mask_id), canvas.span_end)
        state = self._automaton.run(canvas.ids[canvas.span_start : first], self._state)
        assert state is not None, "what has been committed begins an allowed text"
        last = max((position for position in span if position in row_at), default=first - 1) + 1
        layers = tuple(self._layer(canvas, position, row_at) for position in range(first, last))
        rows = tuple(row_at[position] for position in range(first, last) if position in row_at)
        lattice = Lattice(self._automaton, state, layers, self._ends_behind(canvas, last), rows)
        return ConstrainedRows(lattice, self._length_tokens)

    def fits(self, canvas: Canvas) -> bool:
        """Whether the span may become an allowed text as long as it is."""
        layers = tuple(self._layer(canvas, position, {}) for position in range(canvas.span_start, canvas.span_end))
        return Lattice(self._automaton, self._state, layers, self._ends(canvas.span_length), ()).is_possible

    def close_round(self, written: Sequence[int]) -> None:
        """Goes on behind what a round has written."""
        state = self._texts.run(list(written), self._state)
        assert state is not None, "what has been written begins an allowed text"
        self._state = state
        self._num_closed += len(written)

    @property
    def is_complete(self) -> bool:
        """Whether the closed rounds are an allowed text, and nothing has to follow."""
        return bool(self._texts.accepting[self._state]) and self._ends_here

    def allows(self, text: Sequence[int]) -> bool:
        """Whether this is an allowed text as it stands."""
        state = self._texts.run(list(text))
        return state is not None and bool(self._texts.accepting[state])

    def _layer(self, canvas: Canvas, position: int, row_at: Mapping[int, int]) -> int:
        if position in row_at:
            return OPEN
        token_id = canvas.ids[position]
        return FREE if token_id == canvas.mask_id else int(self._automaton.classes[token_id])

    def _ends_behind(self, canvas: Canvas, position: int) -> Bools:
        """[states]: those before `position` from which the rest of the span, as it stands, completes the text."""
        rest = canvas.ids[position : canvas.span_end]
        if all(token_id == canvas.mask_id for token_id in rest):
            return self._ends(canvas.span_length, num_free=len(rest))
        layers = tuple(self._layer(canvas, each, {}) for each in range(position, canvas.span_end))
        return Lattice(self._automaton, 0, layers, self._ends(canvas.span_length), ()).reaching_end()

    def _ends(self, span_length: int, num_free: int = 0) -> Bools:
        """[states]: those before the last `num_free` positions of a span, with a mask on each, from which the text can
        be completed: there, or on further canvases."""
        if self._ends_here:
            return self._automaton.accepting_in(num_free)
        left = self._max_new_tokens - self._num_closed - span_length if self._open_ended else 0
        if self._fills_up or self._changes_length:  # the end of the text comes before the end of the room
            return self._automaton.distances <= left + num_free
        return self._automaton.accepting_in(left + num_free)


def _length_tokens(family: Family, config: ModelConfig) -> LengthTokens | None:
    expand = config.special.expand
    return LengthTokens(config.special.eos, expand) if family.span.changes_length and expand is not None else None
