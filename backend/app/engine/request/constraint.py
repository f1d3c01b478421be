"""The constraint of a request: which text a canvas of it may still become, round by round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from app.engine.canvas.canvas import Canvas
from app.engine.constraint.automaton import TokenAutomaton
from app.engine.constraint.footprint import most_at_once
from app.engine.constraint.graph import FREE, OPEN, LayeredGraph, states_reaching
from app.engine.constraint.lattice import Lattice
from app.engine.constraint.moves import Bools
from app.engine.decoding.constrained import ConstrainedRows, LengthTokens
from app.engine.families.base import Family
from app.engine.families.registry import family_named
from app.engine.interface.errors import InvalidRequest
from app.engine.interface.params import DecodingParams, GenerationRequest
from app.engine.models.base import ModelConfig

_MAX_VISITS = 1_000_000_000
"""Edges that are looked at for the lengths of texts: some three seconds in a thread of its own."""


@dataclass(slots=True)
class _Region:
    """A part of a span, and the graph of all that could stand there when it was built: a later step, in which more is
    committed, needs no other."""

    first: int
    last: int
    span_length: int
    start: int
    ends: Bools
    layers: tuple[int, ...]
    graph: LayeredGraph

    def covers(self, canvas: Canvas, last: int, layers: Sequence[int]) -> bool:
        """Whether the graph has all that fits this canvas up to `last`, and not much more: one is built anew when a
        quarter of what was open has been committed."""
        if (self.last, self.span_length) != (last, canvas.span_length):
            return False
        changed = [(was, now) for was, now in zip(self.layers, layers, strict=True) if was != now]
        num_open = sum(label <= 0 for label in self.layers)
        return all(was <= 0 for was, _ in changed) and 4 * sum(now > 0 for _, now in changed) <= num_open


class TextConstraint:
    """Says what the canvases of one request may still become.

    In families of fixed length the text may be shorter than its span where end tokens may fill the rest; else it is as
    long as the span. Where a canvas changes its length, it may at any time be filled as it stands.
    """

    def __init__(self, request: GenerationRequest, config: ModelConfig) -> None:
        assert request.constraint is not None
        family = family_named(config.family)
        params = request.params
        _check_params(params, request.constraint, config)
        self._max_new_tokens = params.max_new_tokens
        self._open_ended = request.open_ended
        self._changes_length = family.span.changes_length
        self._length_tokens = _length_tokens(family, config)
        self._fills_up = not self._changes_length and not params.eos_never_predicted
        turn = () if params.end_of_turn is None else (params.end_of_turn,)
        ends = tuple(dict.fromkeys((*config.special.ends, *turn)))
        self._texts = request.constraint
        self._automaton = request.constraint.closed_by(ends) if self._fills_up else request.constraint
        _ = self._automaton.moves.kinds_by_class  # found now, before any step waits for it
        self._state = 0
        self._num_closed = 0
        self._capacity = 0
        self._ends_here = False
        self._region: _Region | None = None

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
                f"the shortest text that the constraint allows has {self.least_tokens} tokens of this model, and one "
                f"canvas has room for {self._capacity} beside the given text; shorten that, or simplify the constraint",
                field="constraint",
            )
        self._check_visits()
        if not any(self._may_begin(length) for length in range(self._capacity + 1)):
            raise InvalidRequest(
                f"the constraint allows no text of exactly {self._max_new_tokens} tokens of this model, and the end of "
                "the text may not come before; let it, or ask for another length",
                field="max_new_tokens",
            )

    def _check_visits(self) -> None:
        room, exactly = self._room(self._capacity, num_free=self._capacity)
        num_edges = len(self._automaton.labels)
        if exactly and room * num_edges > _MAX_VISITS:
            raise InvalidRequest(
                f"a text of exactly {room} tokens is too much to look for in a constraint of "
                f"{num_edges} edges; at most {_MAX_VISITS // num_edges} tokens are possible where the end of the text "
                "may not come before: let it, ask for fewer tokens, or simplify the constraint",
                field="max_new_tokens",
            )

    # A round.

    def open_round(self, capacity: int) -> None:
        """Begins a round whose canvas has room for so many new tokens."""
        self._capacity = capacity
        self._region = None
        self._ends_here = self._changes_length and self.least_tokens <= capacity

    def lengths(self, wanted: Sequence[int]) -> tuple[int, ...]:
        """Gives the lengths that the span may begin with, in ascending order: for each that is wanted the next longer
        one for which there is a text, or the longest. Texts of 3 or 7 tokens and 2, 4 and 8 wanted: 3 and 7."""
        possible = np.flatnonzero([self._may_begin(length) for length in range(self._capacity + 1)])
        found = np.searchsorted(possible, wanted).clip(max=len(possible) - 1)
        return tuple(sorted({int(length) for length in possible[found]}))

    def _may_begin(self, length: int) -> bool:
        """Whether there is a text for a span that begins with so many masks."""
        room, exactly = self._room(length, num_free=length)
        if exactly:
            return self._automaton.accepts_in(room, self._state)
        return bool(self._automaton.distances[self._state] <= room)

    def rows(self, canvas: Canvas, positions: Sequence[int]) -> ConstrainedRows:
        """Gives what the tokens that are predicted at `positions` of a canvas have to spell together."""
        row_at = {position: row for row, position in enumerate(positions)}
        last = max((p + 1 for p in positions if canvas.span_start <= p < canvas.span_end), default=canvas.span_start)
        region = self._region
        if region is None or not region.covers(canvas, last, self._layers(canvas, region.first, last, row_at)):
            region = self._region = self._begin_region(canvas, last, row_at)
        layers = self._layers(canvas, region.first, region.last, row_at)
        rows = tuple(row_at[position] for position in range(region.first, region.last) if position in row_at)
        lattice = Lattice(self._automaton, region.start, layers, region.ends, rows, region.graph)
        return ConstrainedRows(lattice, self._length_tokens)

    def _begin_region(self, canvas: Canvas, last: int, row_at: Mapping[int, int]) -> _Region:
        """Begins a region of the span at its first mask: what is before it is a state, and what is behind `last` says
        in which states the region may end."""
        span = range(canvas.span_start, canvas.span_end)
        first = next((position for position in span if canvas.ids[position] == canvas.mask_id), canvas.span_end)
        last = max(first, last)
        start = self._automaton.run(canvas.ids[canvas.span_start : first], self._state)
        assert start is not None, "what has been committed begins an allowed text"
        layers, ends = self._layers(canvas, first, last, row_at), self._ends_behind(canvas, last)
        graph = LayeredGraph(self._automaton, start, layers, ends, with_changes=self._length_tokens is not None)
        return _Region(first, last, canvas.span_length, start, ends, layers, graph)

    def fits(self, canvas: Canvas) -> bool:
        """Whether the span may become an allowed text as long as it is."""
        layers = self._layers(canvas, canvas.span_start, canvas.span_end, {})
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

    def _layers(self, canvas: Canvas, first: int, last: int, row_at: Mapping[int, int]) -> tuple[int, ...]:
        return tuple(self._layer(canvas, position, row_at) for position in range(first, last))

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
        layers = self._layers(canvas, position, canvas.span_end, {})
        return states_reaching(self._automaton, layers, self._ends(canvas.span_length))

    def _ends(self, span_length: int, num_free: int = 0) -> Bools:
        """[states]: those before the last `num_free` positions of a span, with a mask on each, from which the text can
        be completed: there, or on further canvases."""
        room, exactly = self._room(span_length, num_free)
        return self._automaton.accepting_in(room) if exactly else self._automaton.distances <= room

    def _room(self, span_length: int, num_free: int) -> tuple[int, bool]:
        """Gives the tokens that there is room for on the last `num_free` positions of a span and on further canvases,
        and whether the text has to fill it."""
        if self._ends_here:
            return num_free, True
        left = self._max_new_tokens - self._num_closed - span_length if self._open_ended else 0
        # Where ends fill a span, and where a canvas changes its length, the text may end before the room does.
        return left + num_free, not (self._fills_up or self._changes_length)


def _check_params(params: DecodingParams, automaton: TokenAutomaton, config: ModelConfig) -> None:
    """Refuses what a constraint cannot be obeyed with, and blocks in which a step would do too much. The length that
    the checkpoint was trained with is not the client's: there the canvas is shorter instead."""
    if params.pad_delete_to_right:
        raise InvalidRequest(
            "pad_delete_to_right deletes masks that a constraint may need; leave one out", field="pad_delete_to_right"
        )
    block_length, most = params.block_length, most_at_once(automaton)
    if block_length is None or block_length == config.block_length:
        return
    if min(block_length, params.max_new_tokens) > most:
        raise InvalidRequest(
            f"block_length={block_length} is too much to predict together by a constraint of {len(automaton.labels)} "
            f"edges, with which {most} masks are possible; ask for block_length={most} at most, leave it out, or "
            "simplify the constraint",
            field="block_length",
        )


def _length_tokens(family: Family, config: ModelConfig) -> LengthTokens | None:
    expand = config.special.expand
    return LengthTokens(config.special.eos, expand) if family.span.changes_length and expand is not None else None
