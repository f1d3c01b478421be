"""Dream's sampler: the number of commits follows a time schedule.

8 masks in 4 steps from time 1 to 0.001, at each of which masks · (1 - s / t) are committed, rounded down:

    time t to s     1 to 0.75    0.75 to 0.50    0.50 to 0.25    0.25 to 0.001
    masks           8            7               5               3
    commits         1            2               2               3, for the last step commits all
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from app.engine.cache.plan import Moment
from app.engine.cache.registry import SPAN_CACHES
from app.engine.canvas.canvas import Canvas
from app.engine.canvas.edits import Edits
from app.engine.canvas.special import SpecialIds
from app.engine.decoding import schedule
from app.engine.decoding.ranking import choose, ranking_rules
from app.engine.decoding.step import Prediction, Sampler, StepPlan, write
from app.engine.interface.errors import InvalidRequest
from app.engine.interface.params import DecodingParams


class TimestepSampler(Sampler):
    """Dream's sampler: all masks at once, the number of commits follows a time schedule (DreamLM/Dream)."""

    ALGORITHMS = ("entropy", "maskgit_plus", "topk_margin", "origin")
    CACHES = SPAN_CACHES

    def __init__(self, canvas: Canvas, params: DecodingParams, special: SpecialIds) -> None:
        self._params = params
        banned = special.ends if params.eos_never_predicted else ()
        self._rules = replace(ranking_rules(params), banned=banned)
        steps = len(params.transfer_counts) or params.steps or max(canvas.span_length, 1)
        self._times = schedule.timesteps(steps, params.timestep_eps)
        self._cache = self.CACHES[params.cache](params.cache_refresh)
        self._num_steps = 0
        self._step = -1
        self._chosen: list[int] = []

    @classmethod
    def check(cls, params: DecodingParams) -> None:
        """Refuses steps that are not as many as there are counts of transfers."""
        if params.steps is not None and params.transfer_counts and len(params.transfer_counts) != params.steps:
            raise InvalidRequest(
                f"steps={params.steps}, but transfer_counts are for {len(params.transfer_counts)}; leave steps out",
                field="steps",
            )

    def plan(self, canvas: Canvas, rng: np.random.Generator) -> StepPlan | None:
        while self._step + 2 < len(self._times):
            self._step += 1
            positions = tuple(canvas.masked())
            count = self._num_transfers(len(positions), rng)
            if count or self._params.run_to_end:
                span = self._cache.span(Moment.of_span(canvas, self._num_steps, positions))
                self._num_steps += 1
                return StepPlan(positions, self._rules, span)
        return None

    def apply(self, canvas: Canvas, plan: StepPlan, predicted: Prediction, rng: np.random.Generator) -> Edits:
        if self._params.algorithm == "origin":
            return write(canvas, plan, predicted, self._chosen)
        count = self._num_transfers(len(plan.positions), rng)
        return write(canvas, plan, predicted, choose(predicted, count, self._params.alg_temp, rng))

    def _num_transfers(self, num_masks: int, rng: np.random.Generator) -> int:
        if self._params.transfer_counts:
            return self._params.transfer_counts[self._step]
        if self._params.algorithm != "origin":
            return schedule.dream_transfer_count(num_masks, self._step, self._times)
        probability = schedule.origin_transfer_probability(self._step, self._times)
        self._chosen = [int(i) for i in np.flatnonzero(rng.random(num_masks) < probability)]
        return len(self._chosen)
