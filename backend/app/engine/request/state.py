"""One request on its way through the engine: status, rounds, canvas, and what it wants next.

A *round* is one run of a published sampler over a canvas that fits the context length. Most requests have one. A
continuation longer than that goes on in further rounds over a sliding window, and DreamOn, which starts small,
goes on until it has deleted the end of its span.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from enum import Enum

import numpy as np

from app.engine.cache.span import WHOLE
from app.engine.canvas.canvas import Canvas
from app.engine.canvas.edits import Edits
from app.engine.canvas.logprobs import LogprobTrack
from app.engine.canvas.transcript import Transcript
from app.engine.decoding.commit.registry import rule_of
from app.engine.decoding.guidance import unconditional_ids
from app.engine.decoding.rules import LogitRules, Score
from app.engine.decoding.span import choose_length
from app.engine.decoding.step import Prediction, Sampler, Signal, StepPlan
from app.engine.device.memory import Need
from app.engine.families.registry import family_named
from app.engine.families.span import Share
from app.engine.interface.errors import LogitsNotFinite
from app.engine.interface.events import CanvasSnapshot, Commit, EngineEvent, Finished, FinishReason, Step
from app.engine.interface.params import DecodingParams, GenerationRequest
from app.engine.models.base import ModelConfig
from app.engine.passes.work import SequenceInput, Work
from app.engine.request.context import fit_window
from app.engine.request.validation import validate

log = logging.getLogger(__name__)

OnEvent = Callable[[EngineEvent], None]


class Status(Enum):
    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    FAILED = "failed"


_ENDS = {Status.CANCELLED, Status.FAILED}
_TRANSITIONS = {
    Status.WAITING: {Status.RUNNING} | _ENDS,
    Status.RUNNING: {Status.FINISHED} | _ENDS,
    Status.FINISHED: set(),
    Status.CANCELLED: set(),
    Status.FAILED: set(),
}


class RequestState:
    """Created on the caller's thread, from then on touched by the engine thread only.

    Raises (on creation):
        InvalidRequest: the parameters do not suit this checkpoint.
    """

    def __init__(self, request: GenerationRequest, config: ModelConfig, on_event: OnEvent) -> None:
        validate(request, config)
        params = request.params
        self.request = request
        self._on_event = on_event
        self.status = Status.WAITING
        self.nfe = 0
        self.work: Work | None = None
        """For the next engine step; `None` before the start and after the end."""
        self.edits = Edits()
        """What the last step did."""
        self._config = config
        self._family = family_named(config.family)
        self._rule = rule_of(params)
        self._rng = np.random.Generator(np.random.Philox(key=params.seed))
        self._window = fit_window(request.prefix, request.suffix, params.max_new_tokens, config.context_length)
        self.num_truncated = self._window.num_truncated
        ends, turn = config.special.ends, params.end_of_turn
        self._transcript = Transcript(ends if turn is None else (*ends, turn))
        self._logprobs = None if request.num_logprobs is None else LogprobTrack()
        self._choosing = self._candidate_lengths()
        self._steps_left = params.steps or 0  # that no round has been given
        self._sampler: Sampler
        self._plan: StepPlan
        self._given: frozenset[int] = frozenset()
        self._num_cached_tokens = 0
        self._num_distributions = 0  # cached rows of the last step
        self.canvas = self._blank_canvas(0)

    # What it may cost at most, for admission.

    @property
    def max_tokens(self) -> int:
        """Tokens in one forward pass at most."""
        text = len(self._window.prefix) + len(self._window.suffix)
        decoding = (text + self._window.capacity) * self._num_branches + self._max_revisable
        return max(decoding, sum(text + length for length in self._candidate_lengths()))

    @property
    def max_rows(self) -> int:
        """Rows of logits in one forward pass at most."""
        # A place is wanted or revisable, never both.
        return max(self._window.capacity * self._num_branches, sum(self._candidate_lengths()))

    @property
    def need(self) -> Need:
        """What it may take of a device beside the weights, and what of that it holds already."""
        max_cached = 0 if self.request.params.cache == "none" else self.max_tokens
        # Distributions of this step stand beside those of the last one until they have been compared.
        max_rows = 2 * self._window.capacity if Signal.DIVERGENCES in self._rule.NEEDS else 0
        num_rows = min(self._num_distributions, max_rows)
        num_cached = min(self._num_cached_tokens, max_cached)
        return Need(self.max_tokens, self.max_rows, num_cached, max_cached, num_rows, max_rows)

    @property
    def _max_revisable(self) -> int:
        params = self.request.params
        if Signal.SUPPORT not in self._rule.NEEDS:
            return 0
        return min(params.block_length or params.max_new_tokens, params.max_new_tokens)

    @property
    def _num_branches(self) -> int:
        return 2 if self.request.params.cfg_scale > 0 else 1

    def _candidate_lengths(self) -> tuple[int, ...]:
        fitting = {min(length, self._window.capacity) for length in self.request.params.mask_lengths}
        return tuple(sorted(fitting)) if len(fitting) > 1 else ()

    # Its life.

    def move_to(self, status: Status) -> None:
        """Every request ends exactly once; a second end is a defect of the engine."""
        assert status in _TRANSITIONS[self.status], f"{self.status} -> {status}"
        self.status = status

    def tell(self, event: EngineEvent) -> None:
        """Sends an event. A listener that raises misses it; the engine has others to serve."""
        try:
            self._on_event(event)
        except Exception:
            name = self.request.request_id
            log.exception("the listener of request %s failed", name, extra={"request_id": name})

    def start(self) -> None:
        """Plans the first step."""
        if self._choosing:
            self.work = self._probe()
        else:
            self._open_round(self._first_length())
            self._plan_next()

    def advance(self, predicted: Prediction) -> None:
        """Takes in the predictions for `work`, tells what is new, and plans the next step.

        Raises:
            LogitsNotFinite: nothing can be predicted from what the model gave; the request has not changed.
        """
        if predicted.num_broken:
            raise LogitsNotFinite(
                f"in step {self.nfe + 1} the model's logits are not finite (NaN or infinity), rows: "
                f"{predicted.num_broken}. Its weights may be damaged, or their arithmetic too narrow: check the "
                "checkpoint, or load it in float32"
            )
        self.nfe += 1
        if self._choosing:
            self._open_round(self._take_chosen_length(predicted))
        else:
            self._apply(predicted)
        self._plan_next()

    def finished_event(self, device: str) -> Finished:
        num_told = self._transcript.num_told
        ended_by_itself = self._transcript.ended or not self.request.open_ended
        is_full = num_told >= self.request.params.max_new_tokens and not self._transcript.ended
        reason = FinishReason.STOP if ended_by_itself and not is_full else FinishReason.LENGTH
        return Finished(self.request.request_id, reason, num_told, self.nfe, device)

    # The size of the span.

    def _first_length(self) -> int:
        return self._family.span.first_length(self.request.params, self._window.capacity)

    def _probe(self) -> Work:
        """One canvas per candidate length, all in one forward pass (see `decoding/span.py`)."""
        canvases = [self._blank_canvas(length) for length in self._choosing]
        sequences = tuple(SequenceInput(canvas.ids, range(canvas.span_start, canvas.span_end)) for canvas in canvases)
        banned = self._config.special.ends if self.request.params.eos_never_predicted else ()
        return Work(sequences, LogitRules(Score.PROBABILITY, 0.0, None, None, scores_see_filters=False, banned=banned))

    def _take_chosen_length(self, predicted: Prediction) -> int:
        gaps, start = [], 0
        for length in self._choosing:
            gaps.append(predicted.confidences[start : start + length])
            start += length
        chosen = choose_length(self._choosing, gaps)
        self._choosing = ()
        return chosen

    # Rounds.

    def _blank_canvas(self, span_length: int) -> Canvas:
        return Canvas(self._window.prefix, span_length, self._window.suffix, self._config.special.mask)

    def _open_round(self, span_length: int) -> None:
        self.canvas = self._blank_canvas(span_length)
        # Guidance hides these; masks in the given text are not among them.
        self._given = frozenset(range(len(self.canvas))) - frozenset(self.canvas.masked())
        params = self._round_params(span_length)
        self._sampler = self._family.sampler(self.canvas, params, self._config.special)
        if self._logprobs is not None:
            self._logprobs.open_round(self.canvas)

    def _round_params(self, span_length: int) -> DecodingParams:
        """Gives the round its part of what the request asks for."""
        params = self.request.params
        if params.steps is not None:
            params = self._family.span.spend_steps(params, self._share(span_length))
            self._steps_left -= params.steps or 0
        return replace(params, max_new_tokens=self._window.capacity)

    def _share(self, span_length: int) -> Share:
        num_left = self.request.params.max_new_tokens - len(self._transcript.closed)
        rest = num_left - span_length if self.request.open_ended else 0
        num_later = -(-rest // max(self._config.context_length // 2, 1))
        return Share(span_length, num_left, self._steps_left, num_later)

    def _open_next_round(self) -> bool:
        """Moves the window on behind what has been written. False when the text is complete."""
        written = self._transcript.close_round(self.canvas)
        if self._logprobs is not None:
            self._logprobs.close_round(self.canvas)
        if self.request.open_ended:
            self._transcript.ended |= self._sampler.text_ended
        left = self.request.params.max_new_tokens - len(self._transcript.closed)
        if self._transcript.ended or not self.request.open_ended or not written or left <= 0:
            return False
        text = (*self.request.prefix, *self._transcript.closed)
        self._window = fit_window(text, self.request.suffix, left, self._config.context_length)
        self._open_round(self._first_length())
        return True

    # Steps.

    def _plan_next(self) -> None:
        self.work = None
        while not self._transcript.ended or self.request.params.run_to_end:
            plan = self._sampler.plan(self.canvas, self._rng)
            if plan is not None:
                self._plan = plan
                self.work = self._work_for(plan)
                return
            if not self._open_next_round():
                break
        self._tell_new(None)

    def _work_for(self, plan: StepPlan) -> Work:
        params, canvas = self.request.params, self.canvas
        names = (None, None) if plan.span is None else self.cache_names
        span = (plan.span or WHOLE).reaching_back(self._config.prediction_shift)
        sequences = [SequenceInput(tuple(canvas.ids), plan.positions, names[0], span, plan.revisable)]
        if params.cfg_scale > 0:
            blind = unconditional_ids(canvas.ids, self._given, canvas.mask_id)
            sequences.append(SequenceInput(blind, plan.positions, names[1], span))
        return Work(
            tuple(sequences),
            plan.rules,
            params.cfg_scale,
            tuple(self._rng.random(len(plan.positions))) if params.temperature > 0 else (),
            params.repetition_penalty,
            self._committed_ids() if params.repetition_penalty != 1.0 else (),
            self.request.num_logprobs,
            tuple(canvas.ids[position] for position in plan.revisable),
            self.cache_names[0] if plan.needs_divergences else None,
        )

    @property
    def cache_names(self) -> tuple[str, str]:
        """Names under which keys and values of its two branches are cached."""
        return self.request.request_id, f"{self.request.request_id} unconditional"

    def _committed_ids(self) -> tuple[int, ...]:
        """What a repetition is penalised for: text. The end of it may stand at any number of places."""
        committed = {*self._transcript.closed, *self.canvas.span_ids}
        return tuple(sorted(committed - {self.canvas.mask_id, *self._transcript.end_ids}))

    def _apply(self, predicted: Prediction) -> None:
        span_start = self.canvas.span_start
        self.edits = self._sampler.apply(self.canvas, self._plan, predicted, self._rng)
        self._num_cached_tokens = len(self.canvas) * self._num_branches
        self._num_distributions = len(self._plan.positions)
        self._transcript.follow(self.canvas, self._sampler.revisable_from)
        if self._logprobs is not None:
            self._logprobs.follow(self._plan.positions, predicted.logprobs, self.edits)
        self._tell_new(self._snapshot(span_start) if self.request.snapshots else None)

    def _tell_new(self, snapshot: CanvasSnapshot | None) -> None:
        new = self._transcript.take_untold()
        logprobs = () if self._logprobs is None else self._logprobs.take(len(new), self.canvas)
        if new or snapshot is not None:
            self.tell(Step(self.request.request_id, new, self.nfe, snapshot, logprobs))

    def _snapshot(self, span_start: int) -> CanvasSnapshot:
        """The new part with its last edits; indices count from the start of the new part."""
        closed = self._transcript.closed
        offset = len(closed) - span_start
        return CanvasSnapshot(
            ids=(*closed, *self.canvas.span_ids),
            mask_id=self.canvas.mask_id,
            commits=tuple(Commit(index + offset, token_id, sure) for index, token_id, sure in self.edits.committed),
            expanded=tuple(index + offset for index in self.edits.expanded),
            deleted=tuple(index + offset for index in self.edits.deleted),
            revoked=tuple(index + offset for index in self.edits.revoked),
        )
