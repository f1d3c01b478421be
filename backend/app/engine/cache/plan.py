"""A cache plan: which part of the canvas each step computes, and what of it is cached.

A bidirectional model has no exact cache, for every commit changes every key. What changes little can be read from an
earlier step all the same. A plan decides that from where the request stands, and holds no state:

    step 0    CCCCCCCCCCCC    all is computed and cached
    step 1    rrrrCCCCrrrr    a span is computed, the rest read from the cache, and nothing new is cached
    step 2    rrrrCCCCrrrr
    step 3    rrrrSSSSSSSS    a longer span is computed, and cached for those to come

A plan keeps three rules, so that no step reads keys and values which no step has computed: the first step computes the
whole canvas; what a step computes and does not store, the next one computes too; a span of which some is stored has as
many tokens as it had before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from app.engine.cache.span import ComputedSpan
from app.engine.canvas.canvas import Canvas


@dataclass(frozen=True, slots=True)
class Moment:
    """The state of a request before a step: all that a plan decides from."""

    length: int
    """Tokens of the canvas by now."""
    blocks: Sequence[tuple[int, int]]
    """Positions [start, end) of what is denoised together, from left to right; where there are no blocks, those of the
    span between the given texts."""
    block: int
    """Index of the block that is denoised."""
    step: int
    """Steps that this block has had."""
    masked: Sequence[int]
    """Positions where a token may be chosen, in ascending order."""

    @classmethod
    def of_span(cls, canvas: Canvas, step: int, masked: Sequence[int]) -> Moment:
        """The moment of a sampler that denoises all of the canvas's span together."""
        return cls(len(canvas), ((canvas.span_start, canvas.span_end),), 0, step, masked)


class CachePlan(Protocol):
    """Decides for one request, from the first step of a round to its last."""

    def span(self, moment: Moment) -> ComputedSpan | None:
        """Gives what the next step computes; the sampler chooses tokens there and nowhere else. `None`: the whole
        canvas, and nothing is cached."""
        ...


MakePlan = Callable[[int | None], CachePlan]
"""A function that makes a plan from the request's `cache_refresh`."""


@dataclass(frozen=True, slots=True)
class NoCache:
    """Computes the whole canvas at every step."""

    refresh: int | None = None
    """The request's `cache_refresh`, which has no effect here."""

    def span(self, moment: Moment) -> ComputedSpan | None:
        """See `CachePlan.span`."""
        return None
