"""LLaDA's sampler: blocks from left to right.

A prompt of 1 token, 10 masks, `block_length` 4 and 8 `steps`:

    block       [1, 5)    [5, 9)    [9, 11)
    steps       3         3         2            8 spread over the blocks, the first ones get more
    commits     2 1 1     2 1 1     1 1          without a rule: the masks spread over the block's steps
    at least    2 1 1     2 1 1     1 1          with a rule: what fills the block in the steps that are left
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from app.engine.cache.plan import Moment
from app.engine.cache.registry import BLOCK_CACHES
from app.engine.canvas.canvas import Canvas
from app.engine.canvas.edits import Edits
from app.engine.canvas.special import SpecialIds
from app.engine.decoding import schedule
from app.engine.decoding.commit.registry import rule_of
from app.engine.decoding.commit.rule import Candidates
from app.engine.decoding.rules import LogitRules, Score
from app.engine.decoding.step import Prediction, Sampler, Signal, StepPlan, write
from app.engine.interface.params import DecodingParams


class BlockSampler(Sampler):
    """LLaDA's sampler: blocks from left to right, a fixed number of commits per step (arXiv 2502.09992, appendix B).

    Masks left of the block's end compete, also those that an earlier block left open. A block takes as many steps as it
    needs where these depend on confidence (Fast-dLLM, arXiv 2505.22618, section 3.3).
    """

    ALGORITHMS = ("low_confidence", "random")
    CACHES = BLOCK_CACHES
    SIGNALS = frozenset(Signal)

    def __init__(self, canvas: Canvas, params: DecodingParams, special: SpecialIds) -> None:
        self._params = params
        self._rule = rule_of(params)(params)
        self._takes_back = Signal.SUPPORT in self._rule.NEEDS
        self._rules = _logit_rules(params, special, self._rule.RANKS_BY)
        self._blocks = schedule.block_spans(canvas.span_start, canvas.span_end, params.block_length)
        self._steps = schedule.steps_per_block(self._blocks, params.steps)
        self._cache = self.CACHES[params.cache](params.cache_refresh)
        self._block_index = -1
        self._num_steps = 0  # in this block
        self._counts: list[int] = []

    def plan(self, canvas: Canvas, rng: np.random.Generator) -> StepPlan | None:
        while self._counts or self._enter_next_block(canvas):
            positions = tuple(canvas.masked(before=self._blocks[self._block_index][1]))
            moment = Moment(len(canvas), self._blocks, self._block_index, self._num_steps, positions)
            span = self._cache.span(moment)
            if span is not None:  # nothing is predicted elsewhere
                positions = span.within(positions)
            if self._block_is_filled_early(canvas) and not self._computes_filled_block():
                self._counts.clear()
            elif (positions and self._counts[0]) or self._params.run_to_end:
                self._num_steps += 1
                needs_divergences = Signal.DIVERGENCES in self._rule.NEEDS
                return StepPlan(positions, self._rules, span, self._rule.revisable, needs_divergences)
            else:
                self._counts.pop(0)
        return None

    def apply(self, canvas: Canvas, plan: StepPlan, predicted: Prediction, rng: np.random.Generator) -> Edits:
        least = self._counts.pop(0)
        scores = predicted.scores
        if self._params.algorithm == "random":
            scores = rng.random(len(plan.positions)).tolist()
        if self._is_bounded:
            least = schedule.least_commits(len(plan.positions), len(self._counts) + 1)
        chosen = self._rule.choose(Candidates(plan.positions, scores, predicted.divergences), least)
        edits = write(canvas, plan, predicted, chosen)
        return self._revise(canvas, predicted, edits) if self._takes_back else edits

    def _revise(self, canvas: Canvas, predicted: Prediction, edits: Edits) -> Edits:
        if self._is_bounded and not self._counts:  # no step is left that could fill what is taken back
            self.revisable_from = None
            return edits
        committed = [position for position, token_id, _ in edits.committed if token_id != canvas.mask_id]
        revoked = self._rule.revoked(predicted.support, committed)
        for position in revoked:
            canvas.remask(position)
        end = self._blocks[self._block_index][1]
        if self._block_is_filled_early(canvas):
            self._counts.clear()
        # Not the start of the block: masks that an earlier one left open are committed, and revisable, with this one.
        open_positions = [*self._rule.revisable, *canvas.masked(before=end)] if self._counts else []
        self.revisable_from = min(open_positions, default=None)
        return replace(edits, revoked=tuple(revoked))

    def _enter_next_block(self, canvas: Canvas) -> bool:
        self._block_index += 1
        if self._block_index == len(self._blocks):
            return False
        self._num_steps = 0
        self._rule.begin_block()
        start, end = self._blocks[self._block_index]
        num_masks = canvas.ids[start:end].count(canvas.mask_id)
        if not self._rule.is_adaptive:
            self._counts = schedule.spread_evenly(num_masks, self._steps[self._block_index])
        else:
            # Every step commits at least one, so a block never needs more steps than it has masks.
            num_steps = len(canvas.masked(before=end))
            if self._is_bounded:
                num_steps = min(num_steps, self._steps[self._block_index])
            self._counts = [1] * num_steps
        return True

    @property
    def _is_bounded(self) -> bool:
        """Whether `steps` bound a rule. In the published loops they do not; there a rule takes what it needs."""
        return self._rule.is_adaptive and self._params.steps is not None and not self._params.run_to_end

    def _computes_filled_block(self) -> bool:
        """The published loop with a cache looks whether a block is full after the second pass only."""
        return self._params.cache != "none" and self._params.run_to_end and self._num_steps == 1

    def _block_is_filled_early(self, canvas: Canvas) -> bool:
        if not self._rule.is_adaptive:
            return False
        start, end = self._blocks[self._block_index]
        if self._takes_back:  # what it took back may stand left of it
            start = 0
        return canvas.mask_id not in canvas.ids[start:end]


def _logit_rules(params: DecodingParams, special: SpecialIds, score: Score) -> LogitRules:
    # The published sampler removes eos from the scores at temperature 0 only, through shared storage: at higher
    # temperatures just the end of turn goes.
    last = {params.end_of_turn} | (set(special.ends) if params.temperature == 0 else set())
    return LogitRules(
        score=score,
        temperature=params.temperature,
        top_p=params.top_p,
        top_k=params.top_k,
        min_p=params.min_p,
        scores_see_filters=False,
        banned=special.ends if params.eos_never_predicted else (),
        unscored=tuple(sorted(i for i in last if i is not None)) if params.eos_last else (),
    )
