"""The first pass of a request that leaves the length of its gap open: it tries several, and the best one is decoded.

The candidates are canvases of their own, end to end in one forward pass (see `decoding/gap.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from app.engine.canvas.canvas import Canvas
from app.engine.decoding.constrained import ConstrainedRows
from app.engine.decoding.gap import choose_length
from app.engine.decoding.rules import LogitRules, Score
from app.engine.decoding.step import Prediction
from app.engine.interface.params import DecodingParams
from app.engine.models.adapters import Adapter
from app.engine.passes.work import SequenceInput, Work
from app.engine.request.context import ContextWindow


def candidate_lengths(params: DecodingParams, window: ContextWindow) -> tuple[int, ...]:
    """Gives the lengths to choose from, in ascending order; none where there is no choice."""
    fitting = {min(length, window.capacity) for length in params.mask_lengths}
    return tuple(sorted(fitting)) if len(fitting) > 1 else ()


def probe(
    canvases: Sequence[Canvas],
    banned: tuple[int, ...],
    adapter: Adapter | None = None,
    constrained: Sequence[ConstrainedRows] = (),
) -> Work:
    """Gives the pass over one canvas per length, in which the banned ids cannot be predicted.

    Args:
        constrained: for each canvas what it has to spell, its rows counted from its own first one; empty: nothing.
    """
    sequences = tuple(
        SequenceInput(canvas.ids, range(canvas.span_start, canvas.span_end), adapter=adapter) for canvas in canvases
    )
    first_rows = accumulate((canvas.span_length for canvas in canvases), initial=0)
    parts = tuple(part.behind(first) for part, first in zip(constrained, first_rows, strict=False))
    rules = LogitRules(Score.PROBABILITY, 0.0, None, None, scores_see_filters=False, banned=banned)
    return Work(sequences, rules, constrained=parts)


def chosen_length(lengths: Sequence[int], predicted: Prediction) -> int:
    """Gives the best length by what was predicted for the pass. Lengths 2 and 5: rows 0 and 1, then 2 to 6."""
    gaps, start = [], 0
    for length in lengths:
        gaps.append(predicted.confidences[start : start + length])
        start += length
    return choose_length(lengths, gaps)
