"""DreamOn's variable length: what its delete and expand tokens do to a canvas (arXiv 2602.01326, section 3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.engine.canvas.canvas import Canvas


@dataclass(slots=True)
class LengthBudget:
    """The room that a canvas has to grow."""

    max_canvas: int
    """Tokens of the whole canvas at most."""
    expansions: int
    """Expand tokens that may still be carried out."""

    def allows_expansion(self, canvas: Canvas) -> bool:
        return len(canvas) < self.max_canvas and self.expansions > 0


def spread_delete_to_right(canvas: Canvas, open_positions: Iterable[int], delete_id: int) -> None:
    """`pad_delete_to_right`: right of the first delete token everything that was open in this step is deleted too.

    The first delete token of the whole canvas counts, also one in the given text, as in the published sampler.
    """
    if delete_id not in canvas.ids:
        return
    first = canvas.ids.index(delete_id)
    for index in open_positions:
        if index >= first:
            canvas.ids[index] = delete_id


def carry_out_deletions(canvas: Canvas, open_positions: Iterable[int], delete_id: int) -> list[int]:
    """Removes the delete tokens chosen in this step, right to left; those of the given text stay.

    Returns the removed positions, in reading order, as they were before.
    """
    deleted = [index for index in open_positions if canvas.ids[index] == delete_id]
    for index in reversed(deleted):
        canvas.delete(index)
    return deleted


def carry_out_expansions(canvas: Canvas, expand_id: int, budget: LengthBudget) -> list[int]:
    """Every expand token becomes two masks, right to left, while there is room; one mask where there is none.

    The published sampler lets the canvas run past its limit and cuts off the suffix; this one stops at the limit.
    Returns the positions that were expanded, in reading order, as they were before.
    """
    expanded = []
    for index in reversed([i for i, token_id in enumerate(canvas.ids) if token_id == expand_id]):
        if budget.allows_expansion(canvas):
            canvas.expand(index)
            budget.expansions -= 1
            expanded.append(index)
        else:
            canvas.remask(index)
    return expanded[::-1]


def before_deletions(positions: Sequence[int], deleted: Sequence[int]) -> list[int]:
    """Gives where `positions` of a canvas stood before `deleted` (ascending, old positions) were removed."""
    moved = []
    for position in positions:
        for gone in deleted:
            position += gone <= position
        moved.append(position)
    return moved
