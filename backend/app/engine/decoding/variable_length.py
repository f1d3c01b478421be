"""DreamOn's sampler: the canvas grows and shrinks while it is denoised.

A prefix of 2 tokens, 3 masks and a suffix of 1; E expands, D deletes, and a step commits 2:

    position      0 1 2 3 4 5 6
    before        p p _ _ _ s
    predicted     p p E b _ s         positions 2 and 3 were the best
    expanded      p p _ _ b _ s       E at 2 became two masks, what is behind it moved by one
    next step     p p a _ b D s       positions 2 and 5 were the best
    deleted       p p a _ b s         D at 5 is gone: the last position of the span, so nothing is to follow it
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from app.engine.cache.plan import Moment
from app.engine.cache.registry import SPAN_CACHES
from app.engine.canvas.canvas import Canvas
from app.engine.canvas.edits import Edits
from app.engine.canvas.special import SpecialIds
from app.engine.decoding import length
from app.engine.decoding.commit.registry import rule_of
from app.engine.decoding.commit.rule import Candidates
from app.engine.decoding.ranking import choose, ranking_rules
from app.engine.decoding.rules import Score
from app.engine.decoding.step import Prediction, Sampler, Signal, StepPlan, write
from app.engine.interface.errors import InvalidRequest
from app.engine.interface.params import DecodingParams


class VariableLengthSampler(Sampler):
    """DreamOn's sampler: a fixed number of commits per step, then deletions, then expansions (arXiv 2602.01326)."""

    ALGORITHMS = ("entropy", "maskgit_plus", "topk_margin")
    CACHES = SPAN_CACHES
    SIGNALS = frozenset({Signal.CONFIDENCES, Signal.ENTROPIES})

    def __init__(self, canvas: Canvas, params: DecodingParams, special: SpecialIds) -> None:
        if special.expand is None:
            raise InvalidRequest("this checkpoint has no expand token; its length is fixed")
        self._params = params
        self._delete_id = special.eos
        self._expand_id = special.expand
        self._rules = ranking_rules(params)
        masked = canvas.masked()
        max_canvas = len(canvas) - len(masked) + params.max_new_tokens
        room = max_canvas - (masked[0] if masked else len(canvas))
        expansions = 2 * room if params.expand_budget is None else params.expand_budget
        self._budget = length.LengthBudget(max_canvas, expansions)
        self._cache = self.CACHES[params.cache](params.cache_refresh)
        self._num_steps = 0
        self._rule = rule_of(params)(params)
        # A model that predicts the mask token makes no progress; the published limit ends that.
        self._steps_left = 2 * room + 2 * expansions
        self._seen: set[tuple[int, ...]] = set()

    @classmethod
    def check(cls, params: DecodingParams) -> None:
        """Refuses a second way to say how many tokens a step commits, and a span that begins longer than it may be."""
        if params.steps is not None and params.transfers_per_step > 1:
            raise InvalidRequest("steps and transfers_per_step exclude each other; leave one out", field="steps")
        if params.initial_masks is not None and params.initial_masks > params.max_new_tokens:
            raise InvalidRequest(
                f"initial_masks={params.initial_masks} is above max_new_tokens={params.max_new_tokens}",
                field="initial_masks",
            )

    def plan(self, canvas: Canvas, rng: np.random.Generator) -> StepPlan | None:
        positions = tuple(canvas.masked())
        if not positions or self._steps_left == 0:
            return None
        self._steps_left -= 1
        may_expand = self._budget.allows_expansion(canvas)
        rules = self._rules if may_expand else replace(self._rules, banned=(self._expand_id,))
        span = self._cache.span(Moment.of_span(canvas, self._num_steps, positions))
        self._num_steps += 1
        return StepPlan(positions, rules, span)

    def apply(self, canvas: Canvas, plan: StepPlan, predicted: Prediction, rng: np.random.Generator) -> Edits:
        chosen = choose(predicted, self._params.transfers_per_step, self._params.alg_temp, rng)
        by_entropy = self._rule.RANKS_BY is Score.NEGATIVE_ENTROPY
        scores = predicted.scores if by_entropy else predicted.confidences
        confident = self._rule.confident(Candidates(plan.positions, scores))
        chosen = self._fitting(canvas, plan, predicted, [*chosen, *(i for i in confident if i not in chosen)])
        committed = write(canvas, plan, predicted, chosen).committed
        if self._params.pad_delete_to_right:
            length.spread_delete_to_right(canvas, plan.positions, self._delete_id)
        last = canvas.span_end - 1
        deleted, expanded = self._change_length(canvas, plan, self._budget)
        self.text_ended |= last in deleted  # the model asks for nothing behind it
        self._end_cycles(canvas)
        return Edits(committed, tuple(deleted), tuple(length.before_deletions(expanded, deleted)))

    def _change_length(
        self, canvas: Canvas, plan: StepPlan, budget: length.LengthBudget
    ) -> tuple[list[int], list[int]]:
        """Carries out what has been committed, and gives the positions that were deleted and expanded."""
        deleted = length.carry_out_deletions(canvas, plan.positions, self._delete_id)
        return deleted, length.carry_out_expansions(canvas, self._expand_id, budget)

    def _fitting(self, canvas: Canvas, plan: StepPlan, predicted: Prediction, chosen: list[int]) -> list[int]:
        """Gives the chosen predictions behind which an allowed text of the new length remains. Tokens always stay, for
        one text has all of them; a change of length does where it goes with them and with the changes before it."""
        if self.fits is None:
            return chosen
        changes = {self._delete_id, self._expand_id}
        kept = [index for index in chosen if predicted.token_ids[index] not in changes]
        for index in chosen:
            if predicted.token_ids[index] in changes:
                trial = canvas.copy()
                write(trial, plan, predicted, [*kept, index])
                self._change_length(trial, plan, replace(self._budget))
                if self.fits(trial):
                    kept.append(index)
        return kept

    def _end_cycles(self, canvas: Canvas) -> None:
        """Stops expanding where a canvas comes back and decoding is not the published one: the text around the span
        does not change, so what did not help once hardly ever will."""
        if self._params.cache == "none" and not self._rule.is_adaptive:
            return
        span = tuple(canvas.span_ids)
        if span in self._seen:
            self._budget.expansions = 0
        self._seen.add(span)
