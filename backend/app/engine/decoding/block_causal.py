"""The samplers of block-causal models: blocks at absolute positions, from left to right.

A prompt of 5 tokens, 6 new ones, blocks of 4. The tail of the prompt stands in the first block. A reader gets 6 tokens,
whatever the last block holds:

    position             0 1 2 3   4 5 6 7   8 9 10 11
    whole last block     p p p p   p _ _ _   _ _ _  _       SDAR
    shorter last block   p p p p   p _ _ _   _ _ _          Stable-DiffCoder
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from app.engine.cache.plan import Moment
from app.engine.cache.registry import EXACT_CACHES
from app.engine.cache.span import ComputedSpan
from app.engine.canvas.canvas import Canvas
from app.engine.canvas.edits import Edits
from app.engine.canvas.special import SpecialIds
from app.engine.decoding import schedule
from app.engine.decoding.commit.registry import rule_of, rules_on
from app.engine.decoding.commit.rule import Candidates
from app.engine.decoding.rules import LogitRules
from app.engine.decoding.step import Prediction, Sampler, Signal, StepPlan, write
from app.engine.interface.errors import InvalidRequest
from app.engine.interface.params import DecodingParams

SUB_BLOCK_LENGTH = 8
"""Positions that Fast-dLLM v2 denoises together, where a request says nothing."""


class BlockCausalSampler(Sampler):
    """SDAR's sampler (arXiv 2510.06303; JetAstra/SDAR, `generate.py`).

    Positions are open from the first new one on until a step commits them, whatever ids the prompt has. The mask and
    ids without a token are never predicted. A block that is full is computed once more, for its cache, and never again.
    """

    ALGORITHMS: ClassVar[tuple[str, ...]] = ("low_confidence", "sequential")
    CACHES = EXACT_CACHES
    SIGNALS = frozenset({Signal.CONFIDENCES, Signal.ENTROPIES, Signal.DIVERGENCES})
    FILLS_LAST_BLOCK: ClassVar[bool] = True
    """Whether the last block has its whole length, beyond what the reader gets."""
    EXCEEDS_THRESHOLD: ClassVar[bool] = True
    """Whether a confidence has to be above the threshold; else reaching it is enough."""
    SCORES_SEE_FILTERS: ClassVar[bool] = True
    """Whether confidences are those of the distribution after temperature and filters; at temperature 0 none of these
    has an effect."""

    def __init__(self, canvas: Canvas, params: DecodingParams, special: SpecialIds) -> None:
        assert params.block_length is not None, "the family completes it from the checkpoint"
        self._params = params
        self._block_length = params.block_length
        self._rule = rule_of(params)(self._at_threshold(params))
        self._rules = self._logit_rules(special)
        self._ends = {*special.ends} | ({params.end_of_turn} if params.end_of_turn is not None else set())
        self._blocks = self._blocks_of(canvas)
        self._steps = self._steps_of_blocks()
        self._cache = self.CACHES[params.cache](params.cache_refresh)
        self._block = -1
        self._num_steps = 0
        self._counts: list[int] = []
        self._enter_next(canvas)

    @classmethod
    def check(cls, params: DecodingParams) -> None:
        """Refuses steps of the request beside steps of each block, and reading order beside a rule."""
        if params.steps is not None and params.steps_per_block is not None:
            raise InvalidRequest(
                f"steps={params.steps} and steps_per_block={params.steps_per_block} exclude each other; leave one out",
                field="steps_per_block",
            )
        if params.algorithm == "sequential" and (on := rules_on(params)):
            name = on[0].PARAMETER
            raise InvalidRequest(
                f"{name} goes by confidence, and algorithm='sequential' by reading order; leave one out", field=name
            )

    @classmethod
    def max_positions(cls, params: DecodingParams, capacity: int) -> int:
        """Gives a block: nothing else is predicted."""
        assert params.block_length is not None
        return params.block_length

    @classmethod
    def max_computed(cls, params: DecodingParams, num_given: int, capacity: int) -> int:
        """Gives the first pass, over the prompt and a block, or a later one, over two blocks."""
        assert params.block_length is not None
        return max(num_given, params.block_length) + params.block_length

    def plan(self, canvas: Canvas, rng: np.random.Generator) -> StepPlan | None:
        while self._block < len(self._blocks) and not self._is_over(canvas):
            positions = self._open_positions(canvas)
            if positions:
                return self._plan_block(canvas, positions)
            self._enter_next(canvas)
        return None

    def apply(self, canvas: Canvas, plan: StepPlan, predicted: Prediction, rng: np.random.Generator) -> Edits:
        self._num_steps += 1
        least = self._counts.pop(0) if self._counts else 1
        scores = self._scores(plan.positions, predicted, rng)
        chosen = self._rule.choose(Candidates(plan.positions, scores, predicted.divergences), least)
        return write(canvas, plan, predicted, chosen)

    def _scores(self, positions: Sequence[int], predicted: Prediction, rng: np.random.Generator) -> list[float]:
        if self._params.algorithm == "sequential":
            return [-float(position) for position in positions]
        return rng.random(len(positions)).tolist() if self._params.algorithm == "random" else predicted.scores

    # What the families do in different ways.

    def _counts_of_block(self, num_open: int) -> list[int]:
        """The least number of commits of each step of the block: as if all of it were open."""
        return self._spread(self._block_length, self._steps[self._block])

    def _is_over(self, canvas: Canvas) -> bool:
        """Whether nothing that is left to decode can change the answer; of a run to the end, whether the text ends in a
        block that is full."""
        if not self._params.run_to_end:
            return canvas.mask_id not in canvas.span_ids
        start, _ = self._blocks[self._block]
        return not self._ends.isdisjoint(canvas.ids[canvas.span_start : max(start, canvas.span_start)])

    # Its blocks.

    def _blocks_of(self, canvas: Canvas) -> list[tuple[int, int]]:
        first = canvas.span_start - canvas.span_start % self._block_length
        return schedule.block_spans(first, len(canvas), self._block_length)

    def _plan_block(self, canvas: Canvas, positions: tuple[int, ...]) -> StepPlan:
        moment = Moment(len(canvas), self._blocks, self._block, self._num_steps, positions)
        needs_divergences = Signal.DIVERGENCES in self._rule.NEEDS
        return StepPlan(
            positions,
            self._rules,
            self._cache.span(moment),
            needs_divergences=needs_divergences,
            block_length=self._block_length,
        )

    def _open_positions(self, canvas: Canvas) -> tuple[int, ...]:
        start, end = self._blocks[self._block]
        first = max(start, canvas.span_start)
        return tuple(position for position in range(first, end) if canvas.ids[position] == canvas.mask_id)

    def _enter_next(self, canvas: Canvas) -> None:
        self._block += 1
        self._num_steps = 0
        self._rule.begin_block()
        if self._block < len(self._blocks):
            counts = self._counts_of_block(len(self._open_positions(canvas)))
            self._counts = [count for count in counts if count > 0]

    @staticmethod
    def _spread(num_positions: int, steps: int | None) -> list[int]:
        """The commits of each step; one where steps are not bounded."""
        return schedule.spread_evenly(num_positions, num_positions if steps is None else steps)

    def _steps_of_blocks(self) -> list[int | None]:
        """Steps that each block may take; `None`: as many as it wants."""
        if self._params.steps is None:
            return [self._params.steps_per_block] * len(self._blocks)
        return [max(count, 1) for count in schedule.spread_evenly(self._params.steps, len(self._blocks))]

    # Its rules.

    def _at_threshold(self, params: DecodingParams) -> DecodingParams:
        """The parameters for commit rules, for which reaching a threshold is enough."""
        if not self.EXCEEDS_THRESHOLD or params.confidence_threshold is None:
            return params
        return replace(params, confidence_threshold=math.nextafter(params.confidence_threshold, math.inf))

    def _logit_rules(self, special: SpecialIds) -> LogitRules:
        params = self._params
        has_filters = params.temperature > 0
        return LogitRules(
            score=self._rule.RANKS_BY,
            temperature=params.temperature,
            top_p=params.top_p if has_filters else None,
            top_k=params.top_k if has_filters else None,
            min_p=params.min_p if has_filters else 0.0,
            scores_see_filters=self.SCORES_SEE_FILTERS,
            top_k_first=True,
            banned=special.ends if params.eos_never_predicted else (),
            undrawn=(special.mask, *special.unusable),
        )


class StableDiffCoderSampler(BlockCausalSampler):
    """Stable-DiffCoder's sampler: the last block ends with the answer, and steps are spread over the positions that are
    open when a block begins (ByteDance-Seed/Stable-DiffCoder). Confidences are the model's own."""

    ALGORITHMS = ("low_confidence", "random")
    FILLS_LAST_BLOCK = False
    EXCEEDS_THRESHOLD = False
    SCORES_SEE_FILTERS = False

    def _counts_of_block(self, num_open: int) -> list[int]:
        # In the published loop a threshold takes as many steps as it wants.
        is_free = self._rule.is_adaptive and self._params.run_to_end
        return self._spread(num_open, None if is_free else self._steps[self._block])


class FastDllmSampler(BlockCausalSampler):
    """Fast-dLLM v2's sampler (arXiv 2509.26328): the first token of a block follows from the block before it, as in an
    autoregressive model, and a block is denoised in sub-blocks, each beside the masks of those behind it."""

    ALGORITHMS = ("low_confidence",)

    def _plan_block(self, canvas: Canvas, positions: tuple[int, ...]) -> StepPlan:
        start, _ = self._blocks[self._block]
        if positions[0] == start and start > 0:
            return self._plan_first_token(super()._plan_block(canvas, (start,)), start)
        length = self._params.sub_block_length or SUB_BLOCK_LENGTH
        sub_block = (positions[0] - start) // length
        return super()._plan_block(canvas, tuple(p for p in positions if (p - start) // length == sub_block))

    def _plan_first_token(self, plan: StepPlan, start: int) -> StepPlan:
        """The step that finishes the block before: what its last row predicts is the first token of this one. Nothing
        is drawn there."""
        before = self._blocks[self._block - 1][0] if self._block > 0 else 0
        greedy = replace(self._rules, temperature=0.0, top_p=None, top_k=None, min_p=0.0)
        return replace(plan, rules=greedy, span=ComputedSpan((before, start), cached_to=start))

    def _counts_of_block(self, num_open: int) -> list[int]:
        return self._spread(num_open, self._steps[self._block])

    def _is_over(self, canvas: Canvas) -> bool:
        if not self._params.run_to_end:
            return super()._is_over(canvas)
        return canvas.final_ids(self._ends)[1]
