"""The canvas of a stream as it stands: which cells are decided, and how sure the model was."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from typing import Any, NamedTuple

from app.services.diffusion.models import DiffusionStreamEvent


class Cell(NamedTuple):
    """One position; without text it is a mask."""

    text: str | None = None
    confidence: float | None = None
    """`None` where it is not known, because a snapshot was passed over."""
    is_new: bool = False
    """Whether the last step has decided it."""


MASK = Cell()


class CanvasState:
    """Follows the events of one stream."""

    def __init__(self) -> None:
        self.cells: tuple[Cell, ...] = ()
        self.text = ""
        """What is final."""
        self.num_steps = 0

    def follow(self, event: DiffusionStreamEvent) -> None:
        if event.type == "token":
            self.text += event.data
        elif event.type == "step":
            self.num_steps = event.data["step"]
            self.cells = tuple(_settled(event.data["canvas"], self._edited(event.data)))

    def _edited(self, step: Mapping[str, Any]) -> list[Cell]:
        """The cells before this step, with its edits. They count from the canvas that the step began with."""
        # A model of one's own may leave out what it never does.
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
    """What the step says stands there; what is known of a cell counts where the two agree."""
    pairs = zip_longest(texts, cells[: len(texts)], fillvalue=None)
    return [cell if cell is not None and cell.text == text else Cell(text) for text, cell in pairs]
