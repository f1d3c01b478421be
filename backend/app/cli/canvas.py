"""The current canvas of a stream: which positions are decided, and with which confidence."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from reynard_diffusion import DiffusionStreamEvent


class Cell(NamedTuple):
    """A position of the canvas; without text it is a mask."""

    text: str | None = None
    confidence: float | None = None
    """The model's confidence; `None` where it is unknown, because a snapshot was skipped."""
    is_new: bool = False
    """Whether the last step has decided it."""


MASK = Cell()


class CanvasState:
    """Follows the events of one stream."""

    def __init__(self) -> None:
        self.cells: tuple[Cell, ...] = ()
        self.text = ""
        """The final text."""
        self.num_steps = 0

    def follow(self, event: DiffusionStreamEvent) -> None:
        if event.type == "token":
            self.text += event.data
        elif event.type == "step":
            self.num_steps = event.data["step"]
            self.cells = tuple(_settled(event.data["canvas"], self._edited(event.data)))

    def _edited(self, step: Mapping[str, Any]) -> list[Cell]:
        """The cells before this step, with its edits; the indices refer to the canvas before the step."""
        # A user's own model may leave out edits that it never makes.
        expanded, deleted = set(step.get("expanded", ())), set(step.get("deleted", ()))
        num_before = len(step["canvas"]) - len(expanded) + len(deleted)
        cells = [cell._replace(is_new=False) for cell in self.cells[:num_before]]
        cells += [MASK] * (num_before - len(cells))
        for commit in step.get("committed", ()):
            if commit["index"] < num_before:
                cells[commit["index"]] = Cell(commit["text"], commit["confidence"], is_new=True)
        kept = [(index, cell) for index, cell in enumerate(cells) if index not in deleted]
        return [cell for index, old in kept for cell in ([MASK, MASK] if index in expanded else [old])]


def _settled(texts: list[str | None], cells: list[Cell]) -> list[Cell]:
    """The cells with the step's texts; a cell's confidence stays where its text agrees with the step's."""
    pairs = zip_longest(texts, cells[: len(texts)], fillvalue=None)
    return [cell if cell is not None and cell.text == text else Cell(text) for text, cell in pairs]
