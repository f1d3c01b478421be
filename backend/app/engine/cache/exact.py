"""The exact cache of a model that sees nothing to the right of a block.

The keys and values of a block depend on the block and on what stands before it. So they are final as soon as its tokens
are, and reading them from the cache changes no number. But those of a block's last denoising step were computed from
masks: the first step of the next block computes both blocks, and caches the finished one. A prompt of 5 tokens, blocks
of 2, each denoised in two steps:

    block, step     [4, 6)        the tail of the prompt stands in the first block
    0, 0            SSSSCC        C computed   S computed and cached   r read from the cache
    0, 1            rrrrCC
    1, 0            rrrrSSCC
    1, 1            rrrrrrCC
"""

from __future__ import annotations

from dataclasses import dataclass

from app.engine.cache.plan import Moment
from app.engine.cache.span import ComputedSpan


@dataclass(frozen=True, slots=True)
class ExactCache:
    """Reads every finished block from the cache."""

    refresh: int | None = None
    """The request's `cache_refresh`, which has no effect here: nothing becomes stale."""

    def span(self, moment: Moment) -> ComputedSpan:
        """See `CachePlan.span`."""
        start, end = moment.blocks[moment.block]
        first = start
        if moment.step == 0:
            first = moment.blocks[moment.block - 1][0] if moment.block > 0 else 0
        return ComputedSpan((first, end), cached_to=start)
