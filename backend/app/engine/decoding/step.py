"""One denoising step: what a sampler plans, what is predicted for it, and the sampler itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar

import numpy as np

from app.engine.cache.plan import MakePlan
from app.engine.cache.registry import NO_CACHES
from app.engine.cache.span import ComputedSpan
from app.engine.canvas.canvas import Canvas
from app.engine.canvas.edits import Edits
from app.engine.canvas.special import SpecialIds
from app.engine.decoding.rules import LogitRules
from app.engine.interface.events import TokenLogprobs
from app.engine.interface.params import DecodingParams


@dataclass(frozen=True, slots=True)
class StepPlan:
    """The positions where a token may be chosen in this step, and how logits are read there."""

    positions: tuple[int, ...]
    rules: LogitRules
    span: ComputedSpan | None = None
    """The span that the cache plan has the step compute; `None`: the whole canvas, and nothing is cached."""
    revisable: tuple[int, ...] = ()
    """Positions whose token may be taken back: how probable is it, seen from the rest of the canvas?"""
    needs_divergences: bool = False
    """Whether the step needs to know how far each distribution has moved since the last one."""
    block_length: int | None = None
    """Positions of a block, where the pass ends with the last one that is planned and a token sees nothing to the right
    of its block; `None`: tokens see each other."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """One token per planned position, in the order of `StepPlan.positions`."""

    token_ids: list[int]
    scores: list[float]
    confidences: list[float]
    logprobs: list[TokenLogprobs] = field(default_factory=list)
    """Empty where no log-probabilities are asked for."""
    divergences: list[float] = field(default_factory=list)
    """Kullback-Leibler divergence from the last step's distribution, in nats, infinite where there is none; empty where
    the plan needs none."""
    support: list[float] = field(default_factory=list)
    """Probability of the token at each position of `StepPlan.revisable`."""
    scored: list[tuple[float, ...]] = field(default_factory=list)
    """For each position the log-probabilities of the ids that `Work.scored_ids` names; empty where it names none."""
    num_broken: int = 0
    """Rows of logits that were not finite. Where there are any, nothing else is of meaning."""
    failure: str = ""
    """Why nothing could be predicted, where a defect came in between; nothing else is of meaning then. In words, for an
    error would hold the tensors of the pass."""


class Signal(Enum):
    """A number that comes with the predictions of a step."""

    CONFIDENCES = "confidences"
    """Probability of each predicted token."""
    ENTROPIES = "entropies"
    """Entropy of each distribution."""
    DIVERGENCES = "divergences"
    """Divergence of each distribution from that of the step before."""
    SUPPORT = "support"
    """Probability of the tokens at revisable positions, seen from the rest of the canvas."""


class Sampler(ABC):
    """Drives the canvas of one round: plans a step, then writes what was predicted for it.

    It holds where it is in its schedule, and nothing else.
    """

    ALGORITHMS: ClassVar[tuple[str, ...]]
    """Values of `DecodingParams.algorithm`; the first is the default."""
    CACHES: ClassVar[Mapping[str, MakePlan]] = NO_CACHES
    """The cache plans that it asks what a step computes, by what `DecodingParams.cache` may be."""
    SIGNALS: ClassVar[frozenset[Signal]] = frozenset()
    """Signals that it gives to a commit rule. A rule that needs more is not taken."""

    revisable_from: int | None = None
    """The first position that may still change, by a commit that is taken back or a mask that is filled, where commits
    are taken back; `None`: no commit that stands ever is."""
    fits: Callable[[Canvas], bool] | None = None
    """Whether a canvas can still become an allowed text as long as it is; `None` where any text is. Samplers that
    change the length of a canvas ask it."""
    text_ended: bool = False
    """Whether the round has ended the text in another way than by an end token on the canvas."""

    @abstractmethod
    def __init__(self, canvas: Canvas, params: DecodingParams, special: SpecialIds) -> None:
        """Begins a round with its canvas."""

    @classmethod
    def check(cls, params: DecodingParams) -> None:
        """Refuses parameters that do not go together, each of which the family takes.

        Raises:
            InvalidRequest: names them.
        """

    @classmethod
    def max_positions(cls, params: DecodingParams, capacity: int) -> int:
        """Gives the positions where a step may choose a token at most, of a span of `capacity`."""
        return capacity

    @classmethod
    def max_computed(cls, params: DecodingParams, num_given: int, capacity: int) -> int:
        """Gives the tokens that a pass may compute at most, beside `num_given` of given text."""
        return num_given + capacity

    @abstractmethod
    def plan(self, canvas: Canvas, rng: np.random.Generator) -> StepPlan | None:
        """Gives the next step, or `None` when the round is over."""

    @abstractmethod
    def apply(self, canvas: Canvas, plan: StepPlan, predicted: Prediction, rng: np.random.Generator) -> Edits:
        """Commits predictions to the canvas."""


def write(canvas: Canvas, plan: StepPlan, predicted: Prediction, chosen: Iterable[int]) -> Edits:
    """Writes the chosen predictions, given by their indices in the plan."""
    committed = []
    for index in sorted(chosen):
        position, token_id = plan.positions[index], predicted.token_ids[index]
        canvas.commit(position, token_id)
        committed.append((position, token_id, predicted.confidences[index]))
    return Edits(committed=tuple(committed))
