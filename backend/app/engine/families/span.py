"""The span of a round: how it begins, and how a request's `steps` are spent on it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

from app.engine.interface.params import DecodingParams


@dataclass(frozen=True, slots=True)
class RoundShare:
    """The place of a round within its request."""

    span_length: int
    """Positions of its span."""
    num_left: int
    """New tokens that the request may still write, those of this round included."""
    steps_left: int
    """Steps of the request that no round has been given yet."""
    num_later: int
    """Rounds that follow at least; each wants a step, and has room for half a context."""


class Span(ABC):
    """Begins the spans of one family. It holds no state of a request."""

    changes_length: ClassVar[bool]
    """Whether a canvas can grow and shrink while it is denoised."""

    @abstractmethod
    def first_length(self, params: DecodingParams, room: int) -> int:
        """Gives the positions that a round begins with, `room` at most."""

    def num_masks_behind(self, params: DecodingParams, end: int, context_length: int) -> int:
        """Gives the masks that are denoised behind a span that ends at `end`, and belong to no answer."""
        return 0

    @abstractmethod
    def spend_steps(self, params: DecodingParams, share: RoundShare) -> DecodingParams:
        """Gives the parameters of a round whose request asks for a number of steps. Its `steps` are the round's own, or
        `None` where the round has as many as it needs."""


@dataclass(frozen=True, slots=True)
class FixedSpan(Span):
    """The span has its length from the beginning (LLaDA, Dream)."""

    changes_length: ClassVar[bool] = False

    def first_length(self, params: DecodingParams, room: int) -> int:
        """Gives the first length that is asked for, else all new tokens."""
        return min(*params.mask_lengths[:1], params.max_new_tokens, room)

    def spend_steps(self, params: DecodingParams, share: RoundShare) -> DecodingParams:
        """Spreads the steps over the rounds by their tokens. 100 steps for 200 tokens, 120 of them in this round: 60.
        Where that leaves less than a step to a block, blocks become longer."""
        steps = self.round_steps(share)
        if params.block_length is None:
            return replace(params, steps=steps)
        return replace(params, steps=steps, block_length=max(params.block_length, -(-share.span_length // steps)))

    def round_steps(self, share: RoundShare) -> int:
        """Gives the steps of a round."""
        wanted = round(share.steps_left * share.span_length / share.num_left)
        return max(1, min(wanted, share.steps_left - share.num_later))


@dataclass(frozen=True, slots=True)
class SpanOfBlocks(FixedSpan):
    """The span lies on blocks that are counted from the beginning of the text (block-causal models)."""

    fills_last_block: bool
    """Whether the last block has its whole length: of 11 tokens in blocks of 4, one more is denoised."""

    def num_masks_behind(self, params: DecodingParams, end: int, context_length: int) -> int:
        """Gives what is missing to whole blocks, as far as the context goes."""
        if not self.fills_last_block or params.block_length is None:
            return 0
        return max(min(-end % params.block_length, context_length - end), 0)

    def spend_steps(self, params: DecodingParams, share: RoundShare) -> DecodingParams:
        """Spreads the steps over the rounds by their tokens. Blocks keep their length, and take a step each at
        least."""
        return replace(params, steps=self.round_steps(share))


@dataclass(frozen=True, slots=True)
class GrowingSpan(Span):
    """The span begins small, and expands and deletes positions as the model asks (DreamOn)."""

    changes_length: ClassVar[bool] = True
    default_length: int
    """Positions at the beginning where a request names none."""

    def first_length(self, params: DecodingParams, room: int) -> int:
        """Gives the starting masks that are asked for."""
        return min(params.initial_masks or self.default_length, room)

    def spend_steps(self, params: DecodingParams, share: RoundShare) -> DecodingParams:
        """Commits as many tokens at each step as would fill the answer in so many steps."""
        assert params.steps is not None
        return replace(params, steps=None, transfers_per_step=-(-params.max_new_tokens // params.steps))
