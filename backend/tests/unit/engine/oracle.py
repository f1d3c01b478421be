"""A model without a network: its predictions are a pure function of a canvas and a position.

So every path of samplers and requests is walked in microseconds, and a run can be repeated exactly.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.engine.canvas.canvas import Canvas
from app.engine.canvas.edits import Edits
from app.engine.canvas.special import SpecialIds
from app.engine.decoding.rules import LogitRules, Score
from app.engine.decoding.step import Prediction, Sampler, StepPlan
from app.engine.interface.events import EngineEvent, Finished
from app.engine.interface.params import GenerationRequest
from app.engine.models.base import ModelConfig
from app.engine.passes.work import Work
from app.engine.request.life import Status
from app.engine.request.state import RequestState

MASK, EOS, EXPAND, TURN = 0, 1, 2, 3
VOCAB_SIZE = 24
TOKENS = range(4, VOCAB_SIZE)
"""Ids without a role."""


def config_of(family: str, context_length: int = 64, other_ends: tuple[int, ...] = ()) -> ModelConfig:
    """The config of a checkpoint that does not exist."""
    expand = EXPAND if family == "dreamon" else None
    return ModelConfig(
        family=family,
        vocab_size=VOCAB_SIZE,
        width=8,
        num_layers=1,
        num_heads=2,
        num_kv_heads=1,
        head_dim=4,
        mlp_width=16,
        rope_theta=1e4,
        norm_eps=1e-5,
        tied=False,
        context_length=context_length,
        special=SpecialIds(mask=MASK, eos=EOS, pad=EOS, expand=expand, other_ends=other_ends),
        prediction_shift=0 if family == "llada" else 1,
    )


@dataclass(frozen=True)
class Oracle:
    """Predicts one of `favourites` with probability `devotion`, otherwise any token without a role."""

    seed: int
    favourites: tuple[int, ...] = ()
    devotion: float = 0.5

    def predict(self, ids: Sequence[int], positions: Sequence[int], rules: LogitRules) -> Prediction:
        rows = [self._row(ids, position, rules) for position in positions]
        # Negative entropies are at most 0; that they rank as the confidences do is as good as any other order.
        shift = -1.0 if rules.score is Score.NEGATIVE_ENTROPY else 0.0
        return Prediction([row[0] for row in rows], [row[1] + shift for row in rows], [row[1] for row in rows])

    def _row(self, ids: Sequence[int], position: int, rules: LogitRules) -> tuple[int, float]:
        # The generator hashes a string by its characters, so runs and interpreters agree.
        rng = random.Random(f"{self.seed} {position} {list(ids)}")
        pool: Sequence[int] = self.favourites if self.favourites and rng.random() < self.devotion else TOKENS
        allowed = [token_id for token_id in pool if token_id not in rules.banned] or TOKENS
        return rng.choice(allowed), rng.random()

    def answer(self, work: Work) -> Prediction:
        """The prediction that a runner would give for one request's work."""
        read = work.sequences[:1] if work.guidance_scale > 0 else work.sequences
        parts = [self.predict(sequence.ids, sequence.wanted, work.rules) for sequence in read]
        return Prediction(
            [token_id for part in parts for token_id in part.token_ids],
            [score for part in parts for score in part.scores],
            [sure for part in parts for sure in part.confidences],
            support=self.predict(work.sequences[0].ids, work.sequences[0].revisable, work.rules).confidences,
        )


@dataclass(frozen=True)
class Writer(Oracle):
    """Writes from left to right and ends the text at canvas position `end`."""

    end: int = 0
    end_id: int = EOS

    def _row(self, ids: Sequence[int], position: int, rules: LogitRules) -> tuple[int, float]:
        token_id = self.end_id if position >= self.end else TOKENS[position % len(TOKENS)]
        return token_id, 1.0 / (1 + position)


@dataclass(frozen=True)
class SamplerStep:
    """One step of a sampler."""

    before: tuple[int, ...]
    plan: StepPlan
    edits: Edits
    after: tuple[int, ...]


def run_sampler(sampler: Sampler, canvas: Canvas, oracle: Oracle, seed: int = 0) -> list[SamplerStep]:
    """Steps `sampler` to its end; mutates `canvas`."""
    rng = np.random.default_rng(seed)
    steps: list[SamplerStep] = []
    while (plan := sampler.plan(canvas, rng)) is not None:
        before = tuple(canvas.ids)
        edits = sampler.apply(canvas, plan, oracle.predict(before, plan.positions, plan.rules), rng)
        steps.append(SamplerStep(before, plan, edits, tuple(canvas.ids)))
        assert len(steps) < 10_000, "the sampler does not end"
    return steps


def run_request(request: GenerationRequest, config: ModelConfig, oracle: Oracle) -> list[EngineEvent]:
    """A request's events from its start to its end, `Finished` included."""
    events: list[EngineEvent] = []
    state = RequestState(request, config, events.append)
    state.start()
    while state.status is Status.RUNNING:
        assert len(state.work.sequences[0].ids) <= config.context_length
        state.advance(oracle.answer(state.work))
        assert state.nfe < 10_000, "the request does not end"
    return [*events, state.finished_event("cpu")]


def visible_text(events: Sequence[EngineEvent]) -> list[int]:
    """All ids that a reader was sent."""
    return [token_id for event in events for token_id in getattr(event, "new_final", ())]


def end_of(events: Sequence[EngineEvent]) -> Finished:
    assert isinstance(events[-1], Finished)
    return events[-1]
