"""The cache of a span whose length may change: for Dream and DreamOn, which know no blocks.

The given text around the span is read from the cache, the span is computed whatever its length is by then, and every
`refresh` steps the whole canvas is. 3 tokens of prefix, 2 of suffix, `refresh` 3:

    step 0    CCC CCCC CC     C computed   r read from the cache
    step 1    rrr CCCC rr
    step 2    rrr CCCCC rr    an expansion: the cached suffix stands one further right
    step 3    CCC CCCC CC     a deletion, and a refresh
"""

from __future__ import annotations

from dataclasses import dataclass

from app.engine.cache.plan import Moment
from app.engine.cache.span import WHOLE, ComputedSpan


@dataclass(frozen=True, slots=True)
class SpanCache:
    """Reads the text around the span from the cache."""

    refresh: int | None
    """Steps from one that computes everything to the next; `None`: the first one only."""

    def span(self, moment: Moment) -> ComputedSpan | None:
        """See `CachePlan.span`. A mask in the given text needs the whole canvas."""
        start, end = moment.blocks[moment.block]
        is_due = moment.step == 0 if self.refresh is None else moment.step % self.refresh == 0
        is_inside = not moment.masked or (start <= moment.masked[0] and moment.masked[-1] < end)
        return ComputedSpan((start, end)) if is_inside and not is_due else WHOLE
