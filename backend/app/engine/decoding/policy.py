"""Decoding policies: a published sampler as the composition of schedule, rules, selection and length edits.

A policy drives one canvas. Each step it plans (which positions may be chosen, by which rules), the engine computes
predictions there, and the policy applies them. It holds the position in its schedule and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from app.engine.canvas.canvas import Canvas
from app.engine.canvas.edits import Edits
from app.engine.canvas.special import SpecialIds
from app.engine.decoding import length, schedule, selection
from app.engine.decoding.rules import LogitRules, Score
from app.engine.decoding.surety import Revision, Surety
from app.engine.interface.errors import InvalidRequest
from app.engine.interface.events import TokenLogprobs
from app.engine.interface.params import DecodingParams


@dataclass(frozen=True, slots=True)
class StepPlan:
    """Where a token may be chosen in this step, and how logits are read there."""

    positions: tuple[int, ...]
    rules: LogitRules
    window: tuple[int, int] | None = None
    """With a cache: the positions [start, end) that are computed anew; `None`: all."""
    renews: bool = False
    """Whether what is computed in the window is kept: later windows will leave some of it out."""
    revisable: tuple[int, ...] = ()
    """Positions whose token may be taken back: how probable is it, seen from the rest of the canvas?"""
    needs_divergences: bool = False
    """Whether the step needs to know how far each distribution has moved since the last one."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """One token per planned position, in the order of `StepPlan.positions`."""

    token_ids: list[int]
    scores: list[float]
    confidences: list[float]
    logprobs: list[TokenLogprobs] = field(default_factory=list)
    """Where they are asked for; empty otherwise."""
    divergences: list[float] = field(default_factory=list)
    """Where they are asked for: Kullback-Leibler divergence from the last step's distribution, in nats; infinite where
    there is none."""
    support: list[float] = field(default_factory=list)
    """Probability of the token at each position of `StepPlan.revisable`."""
    num_broken: int = 0
    """Rows of logits that were not finite. Where there are any, nothing else is of meaning."""


class Policy(Protocol):
    @property
    def revisable_from(self) -> int | None:
        """The first position that may still change, by a commit that is taken back or a mask that is filled, where
        commits are taken back; `None`: no commit that stands ever is."""
        ...

    def plan(self, canvas: Canvas, rng: np.random.Generator) -> StepPlan | None:
        """The next step, or `None` when the round is over."""
        ...

    def apply(self, canvas: Canvas, plan: StepPlan, predicted: Prediction, rng: np.random.Generator) -> Edits:
        """Commits predictions to the canvas."""
        ...


def _commit(canvas: Canvas, plan: StepPlan, predicted: Prediction, chosen: list[int]) -> Edits:
    committed = []
    for index in sorted(chosen):
        position, token_id = plan.positions[index], predicted.token_ids[index]
        canvas.commit(position, token_id)
        committed.append((position, token_id, predicted.confidences[index]))
    return Edits(committed=tuple(committed))


class BlockPolicy:
    """LLaDA's sampler: blocks from left to right, a fixed number of commits per step (arXiv 2502.09992, appendix B).

    Masks left of the block's end compete, also those that an earlier block left open. A block takes as many steps as it
    needs where these depend on confidence (Fast-dLLM, arXiv 2505.22618, section 3.3).
    """

    def __init__(self, canvas: Canvas, params: DecodingParams, special: SpecialIds) -> None:
        self._params = params
        self._rules = _block_rules(params, special)
        self._blocks = schedule.block_spans(canvas.span_start, canvas.span_end, params.block_length)
        self._steps = schedule.steps_per_block(self._blocks, params.steps)
        self._block_index = -1
        self._num_steps = 0  # in this block
        self._counts: list[int] = []
        self._surety = Surety(params)
        self._revision: Revision | None = None
        self._revisable_from: int | None = None

    @property
    def revisable_from(self) -> int | None:
        return self._revisable_from

    def plan(self, canvas: Canvas, rng: np.random.Generator) -> StepPlan | None:
        while self._counts or self._enter_next_block(canvas):
            window = self._window(canvas)
            positions = tuple(canvas.masked(before=self._blocks[self._block_index][1]))
            if window is not None:  # nothing is predicted elsewhere
                positions = tuple(position for position in positions if window[0] <= position)
            if self._block_is_filled_early(canvas) and not self._computes_filled_block():
                self._counts.clear()
            elif (positions and self._counts[0]) or self._params.run_to_end:
                # The next block begins with this one, and leaves out the one before: its last chance is the first step.
                renews = window is not None and self._num_steps == 0
                self._num_steps += 1
                revisable = () if self._revision is None else self._revision.revisable
                needs_divergences = self._params.stability_bound is not None
                return StepPlan(positions, self._rules, window, renews, revisable, needs_divergences)
            else:
                self._counts.pop(0)
        return None

    def apply(self, canvas: Canvas, plan: StepPlan, predicted: Prediction, rng: np.random.Generator) -> Edits:
        count = self._counts.pop(0)
        scores = predicted.scores
        if self._params.algorithm == "random":
            scores = rng.random(len(plan.positions)).tolist()
        if not self._params.is_adaptive:
            return _commit(canvas, plan, predicted, selection.best(scores, count))
        least = schedule.least_commits(len(plan.positions), len(self._counts) + 1) if self._is_bounded else 1
        chosen = self._surety.choose(plan.positions, scores, predicted.divergences, least)
        edits = _commit(canvas, plan, predicted, chosen)
        return edits if self._revision is None else self._revise(canvas, self._revision, predicted, edits)

    def _revise(self, canvas: Canvas, revision: Revision, predicted: Prediction, edits: Edits) -> Edits:
        if self._is_bounded and not self._counts:  # no step is left that could fill what is taken back
            self._revisable_from = None
            return edits
        committed = [position for position, token_id, _ in edits.committed if token_id != canvas.mask_id]
        revoked = revision.revoked(predicted.support, committed)
        for position in revoked:
            canvas.remask(position)
        end = self._blocks[self._block_index][1]
        if self._block_is_filled_early(canvas):
            self._counts.clear()
        # Not the start of the block: masks that an earlier one left open are committed, and revisable, with this one.
        open_positions = [*revision.revisable, *canvas.masked(before=end)] if self._counts else []
        self._revisable_from = min(open_positions, default=None)
        return replace(edits, revoked=tuple(revoked))

    def _enter_next_block(self, canvas: Canvas) -> bool:
        self._block_index += 1
        if self._block_index == len(self._blocks):
            return False
        self._num_steps = 0
        if self._params.revoke_threshold is not None:
            self._revision = Revision(self._params.revoke_threshold)
        start, end = self._blocks[self._block_index]
        num_masks = canvas.ids[start:end].count(canvas.mask_id)
        if not self._params.is_adaptive:
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
        return self._params.steps is not None and not self._params.run_to_end

    def _window(self, canvas: Canvas) -> tuple[int, int] | None:
        """The first step of a block computes everything, or the block before it once more, now that it is written."""
        cache = self._params.cache
        if cache == "none":
            return None
        start, end = self._blocks[self._block_index]
        if self._num_steps == 0:
            if self._block_index % (self._params.cache_refresh or 1) == 0:
                return None
            start = self._blocks[self._block_index - 1][0]
        return start, (end if cache == "dual" else len(canvas))

    def _computes_filled_block(self) -> bool:
        """The published loop with a cache looks whether a block is full after the second pass only."""
        return self._params.cache != "none" and self._params.run_to_end and self._num_steps == 1

    def _block_is_filled_early(self, canvas: Canvas) -> bool:
        if not self._params.is_adaptive:
            return False
        start, end = self._blocks[self._block_index]
        if self._revision is not None:  # what it took back may stand left of it
            start = 0
        return canvas.mask_id not in canvas.ids[start:end]


def _block_rules(params: DecodingParams, special: SpecialIds) -> LogitRules:
    # The published sampler removes eos from the scores at temperature 0 only, through shared storage: at higher
    # temperatures just the end of turn goes.
    last = {params.end_of_turn} | (set(special.ends) if params.temperature == 0 else set())
    return LogitRules(
        score=Score.PROBABILITY if params.entropy_bound is None else Score.NEGATIVE_ENTROPY,
        temperature=params.temperature,
        top_p=params.top_p,
        top_k=params.top_k,
        scores_see_filters=False,
        banned=special.ends if params.eos_never_predicted else (),
        unscored=tuple(sorted(i for i in last if i is not None)) if params.eos_last else (),
    )


_DREAM_SCORES = {
    "origin": Score.PROBABILITY,
    "maskgit_plus": Score.PROBABILITY,
    "topk_margin": Score.MARGIN,
    "entropy": Score.NEGATIVE_ENTROPY,
}


def _dream_rules(params: DecodingParams, default_algorithm: str) -> LogitRules:
    return LogitRules(
        score=_DREAM_SCORES[params.algorithm or default_algorithm],
        temperature=params.temperature,
        top_p=params.top_p,
        top_k=params.top_k,
        scores_see_filters=True,
    )


def _choose(predicted: Prediction, count: int, alg_temp: float, rng: np.random.Generator) -> list[int]:
    if alg_temp > 0:
        return selection.drawn(predicted.scores, count, alg_temp, rng)
    return selection.best(predicted.scores, count)


class SpanWindow:
    """The window of the Dream family's cache: the span, whatever its length; now and then the whole canvas."""

    def __init__(self, params: DecodingParams) -> None:
        self._is_on = params.cache != "none"
        self._refresh = params.cache_refresh
        self._num_steps = 0

    def next(self, canvas: Canvas) -> tuple[int, int] | None:
        """Of the next step. Masks in the given text need the whole canvas."""
        is_whole = self._num_steps == 0 or (self._refresh is not None and self._num_steps % self._refresh == 0)
        self._num_steps += 1
        masked = canvas.masked()
        is_inside = not masked or (canvas.span_start <= masked[0] and masked[-1] < canvas.span_end)
        return None if not self._is_on or is_whole or not is_inside else (canvas.span_start, canvas.span_end)


class TimestepPolicy:
    """Dream's sampler: all masks at once, the number of commits follows a time schedule (DreamLM/Dream)."""

    DEFAULT_ALGORITHM = "entropy"
    revisable_from = None

    def __init__(self, canvas: Canvas, params: DecodingParams, special: SpecialIds) -> None:
        self._params = params
        banned = special.ends if params.eos_never_predicted else ()
        self._rules = replace(_dream_rules(params, self.DEFAULT_ALGORITHM), banned=banned)
        steps = len(params.transfer_counts) or params.steps or max(canvas.span_length, 1)
        self._times = schedule.timesteps(steps, params.timestep_eps)
        self._window = SpanWindow(params)
        self._step = -1
        self._chosen: list[int] = []

    def plan(self, canvas: Canvas, rng: np.random.Generator) -> StepPlan | None:
        while self._step + 2 < len(self._times):
            self._step += 1
            positions = tuple(canvas.masked())
            count = self._num_transfers(len(positions), rng)
            if count or self._params.run_to_end:
                return StepPlan(positions, self._rules, self._window.next(canvas))
        return None

    def apply(self, canvas: Canvas, plan: StepPlan, predicted: Prediction, rng: np.random.Generator) -> Edits:
        if self._params.algorithm == "origin":
            return _commit(canvas, plan, predicted, self._chosen)
        count = self._num_transfers(len(plan.positions), rng)
        return _commit(canvas, plan, predicted, _choose(predicted, count, self._params.alg_temp, rng))

    def _num_transfers(self, num_masks: int, rng: np.random.Generator) -> int:
        if self._params.transfer_counts:
            return self._params.transfer_counts[self._step]
        if self._params.algorithm != "origin":
            return schedule.dream_transfer_count(num_masks, self._step, self._times)
        probability = schedule.origin_transfer_probability(self._step, self._times)
        self._chosen = [int(i) for i in np.flatnonzero(rng.random(num_masks) < probability)]
        return len(self._chosen)


class VariableLengthPolicy:
    """DreamOn's sampler: a fixed number of commits per step, then deletions, then expansions (arXiv 2602.01326)."""

    DEFAULT_ALGORITHM = "entropy"
    revisable_from = None

    def __init__(self, canvas: Canvas, params: DecodingParams, special: SpecialIds) -> None:
        if special.expand is None:
            raise InvalidRequest("this checkpoint has no expand token; its length is fixed")
        self._params = params
        self._delete_id = special.eos
        self._expand_id = special.expand
        self._rules = _dream_rules(params, self.DEFAULT_ALGORITHM)
        masked = canvas.masked()
        max_canvas = len(canvas) - len(masked) + params.max_new_tokens
        room = max_canvas - (masked[0] if masked else len(canvas))
        expansions = 2 * room if params.expand_budget is None else params.expand_budget
        self._budget = length.LengthBudget(max_canvas, expansions)
        self._window = SpanWindow(params)
        self._surety = Surety(params)
        # A model that predicts the mask token makes no progress; the published limit ends that.
        self._steps_left = 2 * room + 2 * expansions
        self._seen: set[tuple[int, ...]] = set()
        self.text_ended = False
        """The last place of the span was deleted: nothing is to follow."""

    def plan(self, canvas: Canvas, rng: np.random.Generator) -> StepPlan | None:
        positions = tuple(canvas.masked())
        if not positions or self._steps_left == 0:
            return None
        self._steps_left -= 1
        may_expand = self._budget.allows_expansion(canvas)
        rules = self._rules if may_expand else replace(self._rules, banned=(self._expand_id,))
        return StepPlan(positions, rules, self._window.next(canvas))

    def apply(self, canvas: Canvas, plan: StepPlan, predicted: Prediction, rng: np.random.Generator) -> Edits:
        chosen = _choose(predicted, self._params.transfers_per_step, self._params.alg_temp, rng)
        if self._params.is_adaptive:
            by_entropy = self._params.entropy_bound is not None
            sure = self._surety.sure(plan.positions, predicted.scores if by_entropy else predicted.confidences)
            chosen = [*chosen, *(index for index in sure if index not in chosen)]
        committed = _commit(canvas, plan, predicted, chosen).committed
        if self._params.pad_delete_to_right:
            length.spread_delete_to_right(canvas, plan.positions, self._delete_id)
        last = canvas.span_end - 1
        deleted = length.carry_out_deletions(canvas, plan.positions, self._delete_id)
        self.text_ended |= last in deleted
        expanded = length.carry_out_expansions(canvas, self._expand_id, self._budget)
        self._end_cycles(canvas)
        return Edits(committed, tuple(deleted), tuple(length.before_deletions(expanded, deleted)))

    def _end_cycles(self, canvas: Canvas) -> None:
        """Where decoding is not the published one, expanding and deleting in turn is not worth waiting for its limit:
        the text around the span does not change, so what did not help once hardly ever will."""
        if self._params.cache == "none" and not self._params.is_adaptive:
            return
        span = tuple(canvas.span_ids)
        if span in self._seen:
            self._budget.expansions = 0
        self._seen.add(span)


_LLADA_ALGORITHMS = ("low_confidence", "random")
_DREAM_ALGORITHMS = ("entropy", "maskgit_plus", "topk_margin", "origin")
_DREAMON_ALGORITHMS = ("entropy", "maskgit_plus", "topk_margin")

_FAMILIES: dict[str, tuple[type[BlockPolicy | TimestepPolicy | VariableLengthPolicy], tuple[str, ...]]] = {
    "llada": (BlockPolicy, _LLADA_ALGORITHMS),
    "dream": (TimestepPolicy, _DREAM_ALGORITHMS),
    "dreamon": (VariableLengthPolicy, _DREAMON_ALGORITHMS),
}


def algorithms(family: str) -> tuple[str, ...]:
    """What `DecodingParams.algorithm` may be for a family; the first is the default."""
    return _FAMILIES[family][1]


def build_policy(family: str, canvas: Canvas, params: DecodingParams, special: SpecialIds) -> Policy:
    """The family's sampler, at the start of its schedule."""
    return _FAMILIES[family][0](canvas, params, special)
