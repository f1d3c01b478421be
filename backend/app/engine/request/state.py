"""One request on its way through the engine: its status, its events, and what it wants of the next pass."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from app.engine.cache.span import WHOLE
from app.engine.canvas.canvas import Canvas
from app.engine.canvas.edits import Edits
from app.engine.decoding.adjustment import Adjustment, bias_of, penalises
from app.engine.decoding.commit.registry import rule_of
from app.engine.decoding.guidance import unconditional_ids
from app.engine.decoding.step import Prediction, StepPlan
from app.engine.device.memory import Need
from app.engine.families.registry import family_named
from app.engine.interface.events import CanvasSnapshot, Finished, FinishReason, Step
from app.engine.interface.params import GenerationRequest
from app.engine.models.adapters import Adapter
from app.engine.models.base import ModelConfig
from app.engine.passes.work import SequenceInput, Work
from app.engine.request.cost import Cost, num_branches
from app.engine.request.life import OnEvent, RequestLife, Status
from app.engine.request.probe import candidate_lengths, chosen_length, probe
from app.engine.request.rounds import Rounds
from app.engine.request.validation import validate


class RequestState(RequestLife):
    """Created on the caller's thread, from then on touched by the engine thread only.

    Raises (on creation):
        InvalidRequest: the parameters do not suit this checkpoint.
    """

    request: GenerationRequest

    def __init__(
        self, request: GenerationRequest, config: ModelConfig, on_event: OnEvent, adapter: Adapter | None = None
    ) -> None:
        super().__init__(on_event)
        validate(request, config)
        self._adapter = adapter
        family = family_named(config.family)
        self.request = replace(request, params=family.resolve(request.params, config))
        self._prediction_shift = config.prediction_shift
        self.edits = Edits()
        """Changes of the last step."""
        self._rng = np.random.Generator(np.random.Philox(key=request.params.seed))
        self._rounds = Rounds(self.request, config, self._rng)
        self.num_truncated = self._rounds.window.num_truncated
        lengths = self._rounds.lengths(candidate_lengths(request.params, self._rounds.window))
        self._lengths = lengths if len(lengths) > 1 else ()  # until one has been chosen
        self._signals = rule_of(request.params).NEEDS
        self._sampler = family.sampler
        self._bias = bias_of(request.params)
        self._plan: StepPlan
        self._num_cached_tokens = 0
        self._num_distributions = 0  # cached rows of the last step

    @property
    def canvas(self) -> Canvas:
        """The canvas of the round that is open."""
        return self._rounds.canvas

    @property
    def cache_names(self) -> tuple[str, str]:
        """Names under which keys and values of its two branches are cached."""
        return self.request.request_id, f"{self.request.request_id} unconditional"

    # What it may cost, for admission.

    @property
    def _cost(self) -> Cost:
        return Cost(self.request.params, self._rounds.window, self._signals, self._sampler)

    @property
    def max_tokens(self) -> int:
        """Tokens in one forward pass at most."""
        return self._cost.max_tokens

    @property
    def max_rows(self) -> int:
        """Rows of logits in one forward pass at most."""
        return self._cost.max_rows

    @property
    def need(self) -> Need:
        """Memory that it may take of a device beside the weights, and the part of it that it holds already."""
        return self._cost.need(self._num_cached_tokens, self._num_distributions)

    # Its life.

    def start(self) -> None:
        """Begins to run, and plans the first step."""
        self.move_to(Status.RUNNING)
        if self._lengths:
            canvases = [self._rounds.blank_canvas(length) for length in self._lengths]
            spans = [range(canvas.span_start, canvas.span_end) for canvas in canvases]
            parts = [
                part for each in zip(canvases, spans, strict=True) for part in self._rounds.constrained_rows(*each)
            ]
            self.work = probe(canvases, self._rounds.banned, self._adapter, parts)
        else:
            self._rounds.open(self._rounds.first_length)
            self._plan_next()

    def advance(self, predicted: Prediction) -> None:
        """Takes in the predictions for `work`, sends what is new, and plans the next step; where there is none, the
        request is finished.

        Raises:
            LogitsNotFinite: nothing can be predicted from what the model gave; the request has not changed.
            EngineStopped: a defect came between the model and the prediction; the request has not changed.
        """
        self._count(predicted)
        if self._lengths:
            self._rounds.open(chosen_length(self._lengths, predicted))
            self._lengths = ()
        else:
            self._apply(predicted)
        self._plan_next()

    def finished_event(self, device: str) -> Finished:
        """Gives the event that says why and after how much the text is complete."""
        transcript, params = self._rounds.transcript, self.request.params
        ended_by_itself = transcript.ended or not self.request.open_ended
        is_full = transcript.num_sent >= params.max_new_tokens and not transcript.ended
        is_complete = ended_by_itself and not is_full if self._rounds.is_allowed is None else self._rounds.is_allowed
        reason = FinishReason.STOP if is_complete else FinishReason.LENGTH
        return Finished(self.request.request_id, reason, transcript.num_sent, self.nfe, device)

    # Its steps.

    def _plan_next(self) -> None:
        plan = self._rounds.plan()
        if plan is None:
            self._send_new(None)
            self.move_to(Status.FINISHED)
        else:
            self._plan = plan
            self.work = self._work_for(plan)

    def _work_for(self, plan: StepPlan) -> Work:
        """Gives what a plan means to a pass: the canvas, beside it the unconditional one, and how logits are read."""
        params, canvas = self.request.params, self.canvas
        names = (None, None) if plan.span is None else self.cache_names
        span = (plan.span or WHOLE).reaching_back(self._prediction_shift)
        seen = span.bounds[1] if plan.block_length is not None and span.bounds is not None else len(canvas)
        ids = tuple(canvas.ids[:seen])
        sequences = [
            SequenceInput(ids, plan.positions, names[0], span, plan.block_length, plan.revisable, self._adapter)
        ]
        if params.cfg_scale > 0:
            blind = unconditional_ids(canvas.ids, self._rounds.given, canvas.mask_id)
            sequences.append(SequenceInput(blind, plan.positions, names[1], span, adapter=self._adapter))
        return Work(
            tuple(sequences),
            plan.rules,
            params.cfg_scale,
            tuple(self._rng.random(len(plan.positions))) if plan.rules.temperature > 0 else (),
            self._adjustment(plan),
            self.request.num_logprobs,
            tuple(canvas.ids[position] for position in plan.revisable),
            self.cache_names[0] if plan.needs_divergences else None,
            self._rounds.constrained_rows(canvas, plan.positions),
        )

    def _adjustment(self, plan: StepPlan) -> Adjustment:
        params = self.request.params
        return Adjustment(
            self._bias,
            self._rounds.committed_counts if penalises(params) else (),
            params.repetition_penalty,
            params.frequency_penalty,
            params.presence_penalty,
            self._rounds.repeating(plan.positions),
        )

    def _apply(self, predicted: Prediction) -> None:
        span = self.canvas.span_start, self.canvas.span_end
        self.edits = self._rounds.apply(self._plan, predicted, self.work.constrained)
        num_cached = self._plan.span.num_cached(len(self.canvas)) if self._plan.span is not None else 0
        self._num_cached_tokens = num_cached * num_branches(self.request.params)
        self._num_distributions = len(self._plan.positions)
        self._send_new(self._rounds.snapshot(self.edits, span) if self.request.snapshots else None)

    def _send_new(self, snapshot: CanvasSnapshot | None) -> None:
        new, logprobs = self._rounds.take_new()
        if new or snapshot is not None:
            self.send(Step(self.request.request_id, new, self.nfe, snapshot, logprobs))
