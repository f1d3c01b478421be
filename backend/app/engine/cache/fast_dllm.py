"""The prefix and the dual cache of block-wise decoding (Fast-dLLM, arXiv 2505.22618, section 3.2).

The first step of a block computes the whole canvas, the others the block (*dual*) or the block and all behind it
(*prefix*). With a `refresh` of n only every n-th block begins with the whole canvas; the blocks between begin with the
block before them, which is written by now, and store it. 2 tokens of prompt, three blocks of 2, `refresh` 2, two steps
each:

    block, step     prefix       dual
    0, 0            CCCCCCCC     CCCCCCCC       C computed   S computed and stored   r read from the cache
    0, 1            rrCCCCCC     rrCCrrrr
    1, 0            rrSSSSSS     rrSSSSrr
    1, 1            rrrrCCCC     rrrrCCrr
    2, 0            CCCCCCCC     CCCCCCCC
    2, 1            rrrrrrCC     rrrrrrCC
"""

from __future__ import annotations

from dataclasses import dataclass

from app.engine.cache.plan import Moment
from app.engine.cache.span import WHOLE, ComputedSpan


@dataclass(frozen=True, slots=True)
class PrefixCache:
    """Reads the text before the block from the cache."""

    refresh: int | None
    """Blocks from one step that computes everything to the next; `None`: every block has one."""

    def span(self, moment: Moment) -> ComputedSpan | None:
        """See `CachePlan.span`."""
        start = _start(moment, self.refresh)
        return WHOLE if start is None else ComputedSpan((start, moment.length), stores=moment.step == 0)


@dataclass(frozen=True, slots=True)
class DualCache:
    """Reads the text before the block and what is behind it from the cache."""

    refresh: int | None
    """The blocks from one whole pass to the next, as in `PrefixCache`."""

    def span(self, moment: Moment) -> ComputedSpan | None:
        """See `CachePlan.span`."""
        start = _start(moment, self.refresh)
        return (
            WHOLE if start is None else ComputedSpan((start, moment.blocks[moment.block][1]), stores=moment.step == 0)
        )


def _start(moment: Moment, refresh: int | None) -> int | None:
    """The first position that is computed; `None` where all are."""
    if moment.step > 0:
        return moment.blocks[moment.block][0]
    return None if moment.block % (refresh or 1) == 0 else moment.blocks[moment.block - 1][0]
