"""The rounds of a request: its canvases, one after the other, and what has been written on them.

A *round* is one run of a published sampler over a canvas that fits the context length. Most requests have one. A
continuation longer than that goes on in further rounds over a sliding window, and DreamOn, which starts small,
goes on until it has deleted the end of its span.

    context of 8    a b c d e f _ _      the text is 6 tokens long, 2 new ones fit beside it
    next round      e f g h _ _ _ _      the window has moved on behind what was written: half of it is new again
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from app.engine.canvas.canvas import Canvas
from app.engine.canvas.edits import Edits
from app.engine.canvas.logprobs import LogprobTrack
from app.engine.canvas.transcript import Transcript
from app.engine.constraint.footprint import most_at_once
from app.engine.decoding.constrained import ConstrainedRows
from app.engine.decoding.ngrams import repeating
from app.engine.decoding.step import Prediction, Sampler, StepPlan
from app.engine.families.registry import family_named
from app.engine.families.span import RoundShare
from app.engine.interface.events import CanvasSnapshot, Commit, TokenLogprobs
from app.engine.interface.params import DecodingParams, GenerationRequest
from app.engine.models.base import ModelConfig
from app.engine.request.constraint import TextConstraint
from app.engine.request.context import ContextWindow, fit_window
from app.engine.request.probe import candidate_lengths

_LEAST_FORCED_CONFIDENCE = 0.99
"""A confidence that every forced token exceeds: it is one, but for rounding."""


class Rounds:
    """Decodes one request, step by step, given what was predicted. Knows no pass, and sends no event."""

    def __init__(self, request: GenerationRequest, config: ModelConfig, rng: np.random.Generator) -> None:
        params = request.params
        self._request = request
        self._config = config
        self._family = family_named(config.family)
        self._rng = rng
        ends, turn = config.special.ends, params.end_of_turn
        self.transcript = Transcript(ends if turn is None else (*ends, turn))
        self._logprobs = None if request.num_logprobs is None else LogprobTrack()
        self._steps_left = params.steps or 0  # that no round has been given
        self.window = self._fit_window(request.prefix, params.max_new_tokens)
        self._sampler: Sampler
        self._constraint = None if request.constraint is None else TextConstraint(request, config)
        if self._constraint is not None:
            self._constraint.open_round(self.window.capacity)
            self._constraint.check()
        self.given: frozenset[int] = frozenset()
        """Positions of the given text, which guidance hides; masks in it are not among them."""
        self.canvas = self.blank_canvas(0)

    def blank_canvas(self, span_length: int) -> Canvas:
        """Gives a canvas with the window's text and a span of masks, and behind them those that fill a block."""
        params, mask = self._request.params, self._config.special.mask
        end = len(self.window.prefix) + span_length
        num_behind = self._family.span.num_masks_behind(params, end, self._config.context_length)
        return Canvas(self.window.prefix, span_length, (*self.window.suffix, *[mask] * num_behind), mask)

    @property
    def first_length(self) -> int:
        """Positions that the span of a round begins with."""
        length = self._family.span.first_length(self._request.params, self.window.capacity)
        return self.lengths((length,))[0]

    def lengths(self, wanted: tuple[int, ...]) -> tuple[int, ...]:
        """Gives these lengths of a span, or others near them where the constraint has no text of one."""
        return wanted if self._constraint is None or not wanted else self._constraint.lengths(wanted)

    def constrained_rows(self, canvas: Canvas, positions: Sequence[int]) -> tuple[ConstrainedRows, ...]:
        """Gives the rows of a pass over a canvas that have to spell an allowed text."""
        return () if self._constraint is None else (self._constraint.rows(canvas, positions),)

    @property
    def banned(self) -> tuple[int, ...]:
        """Ids that no token may be, where the text must not end."""
        return self._config.special.ends if self._request.params.eos_never_predicted else ()

    def open(self, span_length: int) -> None:
        """Begins a round."""
        self.canvas = self.blank_canvas(span_length)
        self.given = frozenset(range(len(self.canvas))) - frozenset(self.canvas.masked())
        self._sampler = self._family.sampler(self.canvas, self._params(span_length), self._config.special)
        if self._constraint is not None:
            self._sampler.fits = self._constraint.fits
        if self._logprobs is not None:
            self._logprobs.open_round(self.canvas)

    def plan(self) -> StepPlan | None:
        """Gives the next step, of a further round where this one is over; `None` when the text is complete."""
        while not self.transcript.ended or self._request.params.run_to_end:
            plan = self._sampler.plan(self.canvas, self._rng)
            if plan is not None:
                return plan
            if not self._open_next():
                break
        return None

    def apply(self, plan: StepPlan, predicted: Prediction, constrained: Sequence[ConstrainedRows] = ()) -> Edits:
        """Writes what was predicted for a step, with these parts of it constrained."""
        edits = self._sampler.apply(self.canvas, plan, predicted, self._rng)
        if constrained and (self._request.snapshots or self._logprobs is not None):
            edits = replace(edits, forced=_forced(plan, edits, constrained))
        self.transcript.follow(self.canvas, self._sampler.revisable_from)
        if self._logprobs is not None:
            self._logprobs.follow(plan.positions, predicted.logprobs, edits)
        return edits

    def take_new(self) -> tuple[tuple[int, ...], tuple[TokenLogprobs, ...]]:
        """Gives the ids that have become final since it was last asked, and their log-probabilities if these are
        wanted."""
        new = self.transcript.take_unsent()
        return new, () if self._logprobs is None else self._logprobs.take(len(new), self.canvas)

    @property
    def committed_counts(self) -> tuple[tuple[int, int], ...]:
        """Ids that a repetition is penalised for, in ascending order, and how often each has been written, at whatever
        positions. The end of the text may stand at any number of them, and does not count."""
        counts = Counter((*self.transcript.closed, *self.canvas.span_ids))
        others = {self.canvas.mask_id, *self.transcript.end_ids}
        return tuple(sorted((token_id, count) for token_id, count in counts.items() if token_id not in others))

    def repeating(self, positions: Sequence[int]) -> tuple[tuple[int, int], ...]:
        """Gives the rows of a pass over these positions, in ascending order, and the ids that would write a run of
        tokens once more there; none where the request does not ask for that."""
        size = self._request.params.no_repeat_ngram_size
        if size == 0:
            return ()
        closed, canvas = self.transcript.closed, self.canvas
        written, offset = (*closed, *canvas.span_ids), canvas.span_start - len(closed)
        pairs = repeating(written, size, canvas.mask_id, self.transcript.end_ids)
        rows = {position: row for row, position in enumerate(positions)}
        return tuple((rows[i + offset], token_id) for i, token_id in pairs if i + offset in rows)

    @property
    def is_allowed(self) -> bool | None:
        """Whether all that has been written is a text that the constraint allows; `None` where there is none."""
        return None if self._constraint is None else self._constraint.allows(self.transcript.ids)

    def snapshot(self, edits: Edits, span: tuple[int, int]) -> CanvasSnapshot:
        """Gives the new part after a step; indices count from its start, closed rounds included. Commits elsewhere are
        not part of it.

        Args:
            edits: of the step.
            span: where the span began and ended before it.
        """
        closed = self.transcript.closed
        offset = len(closed) - span[0]
        return CanvasSnapshot(
            ids=(*closed, *self.canvas.span_ids),
            mask_id=self.canvas.mask_id,
            commits=tuple(
                Commit(index + offset, token_id, sure)
                for index, token_id, sure in edits.committed
                if index in range(*span)
            ),
            expanded=tuple(index + offset for index in edits.expanded),
            deleted=tuple(index + offset for index in edits.deleted),
            revoked=tuple(index + offset for index in edits.revoked),
            forced=None if edits.forced is None else tuple(index + offset for index in edits.forced),
        )

    def _fit_window(self, text: tuple[int, ...], left: int) -> ContextWindow:
        """Gives the window behind a text, with `left` new tokens to write. Where a step would predict more masks
        together than the constraint lets it, the canvas is shorter, and the rest follows on further ones."""
        suffix, context_length = self._request.suffix, self._config.context_length
        window = fit_window(text, suffix, left, context_length)
        if self._request.constraint is None:
            return window
        most = most_at_once(self._request.constraint)
        if self._most_predicted(window) <= most:
            return window
        return fit_window(text, suffix, min(left, most), context_length)

    def _most_predicted(self, window: ContextWindow) -> int:
        """The masks of a span that a step predicts together at most."""
        if candidate_lengths(self._request.params, window):  # spans that are tried are predicted as a whole
            return window.capacity
        return min(self._with_own_steps(window.capacity).block_length or window.capacity, window.capacity)

    def _params(self, span_length: int) -> DecodingParams:
        """Gives the round its part of what the request asks for."""
        params = self._with_own_steps(span_length)
        if self._request.params.steps is not None:
            self._steps_left -= params.steps or 0
        return replace(params, max_new_tokens=self.window.capacity)

    def _with_own_steps(self, span_length: int) -> DecodingParams:
        """The parameters of a round over so many positions, with its part of the steps."""
        params = self._request.params
        return params if params.steps is None else self._family.span.spend_steps(params, self._share(span_length))

    def _share(self, span_length: int) -> RoundShare:
        num_left = self._request.params.max_new_tokens - len(self.transcript.closed)
        rest = num_left - span_length if self._request.open_ended else 0
        num_later = -(-rest // max(self._config.context_length // 2, 1))
        return RoundShare(span_length, num_left, self._steps_left, num_later)

    def _open_next(self) -> bool:
        """Moves the window on behind what has been written. False when the text is complete."""
        written = self.transcript.close_round(self.canvas)
        if self._logprobs is not None:
            self._logprobs.close_round(self.canvas)
        if self._constraint is not None:
            self._constraint.close_round(written)
            self.transcript.ended |= self._constraint.is_complete
        elif self._request.open_ended:
            self.transcript.ended |= self._sampler.text_ended
        left = self._request.params.max_new_tokens - len(self.transcript.closed)
        if self.transcript.ended or not self._request.open_ended or not written or left <= 0:
            return False
        text = (*self._request.prefix, *self.transcript.closed)
        self.window = self._fit_window(text, left)
        if self._constraint is not None:
            self._constraint.open_round(self.window.capacity)
        self.open(self.first_length)
        return True


def _forced(plan: StepPlan, edits: Edits, constrained: Sequence[ConstrainedRows]) -> tuple[int, ...]:
    """The committed positions for which the constraint left no other token. A forced token has a confidence of one, or
    is not scored, so most steps need no look at the automaton."""
    sure = {
        position
        for position, token_id, confidence in edits.committed
        if confidence > _LEAST_FORCED_CONFIDENCE or token_id in plan.rules.unscored
    }
    rows = (row for part in constrained for row in part.forced_rows(plan.rules)) if sure else ()
    return tuple(sorted(sure.intersection(plan.positions[row] for row in rows)))
