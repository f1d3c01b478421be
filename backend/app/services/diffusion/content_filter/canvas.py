"""Step events show a canvas in denoising: what a filter forbids is not shown there either."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

HIDDEN = "▒"
"""Stands for the text of a position that is decided and must not be shown, or not yet."""


class Commit(BaseModel):
    """A position that was decided in this step; the index is one before the step's expansions and deletions."""

    model_config = ConfigDict(strict=True, extra="ignore")

    index: int
    text: str
    confidence: float | None = None


class Step(BaseModel):
    """The data of a step event, as `NativeDiffusionModel` describes it. Anything else in it goes no further: it might
    hold text that nobody has looked at."""

    model_config = ConfigDict(strict=True, extra="ignore")

    canvas: list[str | None] = []
    committed: list[Commit] = []
    expanded: list[int] = []
    deleted: list[int] = []
    revoked: list[int] = []
    forced: list[int] | None = None
    step: int | None = None
    nfe: int | None = None

    @classmethod
    def of(cls, data: Any) -> Step | None:
        """`None` if the data do not have this shape."""
        try:
            return cls.model_validate(data)
        except ValidationError:
            return None

    def place_of(self, index: int) -> int:
        """The index on the canvas of a position from before the expansions and deletions."""
        return index + sum(other < index for other in self.expanded) - sum(other < index for other in self.deleted)


def without_hidden(step: Step, hidden: Collection[int]) -> dict[str, Any]:
    """The data of the event with these positions hidden, on the canvas and among the commits."""
    shown = [text if text is None or index not in hidden else HIDDEN for index, text in enumerate(step.canvas)]
    committed = [commit.model_copy(update={"text": _shown_text(step, commit, shown)}) for commit in step.committed]
    return step.model_copy(update={"canvas": shown, "committed": committed}).model_dump(exclude_none=True)


def _shown_text(step: Step, commit: Commit, shown: list[str | None]) -> str:
    """A commit shows what the canvas shows, and nothing that stands there no longer."""
    place = step.place_of(commit.index)
    is_there = 0 <= place < len(shown) and step.canvas[place] == commit.text
    return shown[place] or "" if is_there else HIDDEN
