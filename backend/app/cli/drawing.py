"""Draws a canvas in a terminal: masks as glyphs, tokens in the colour of the model's confidence."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.text import Text

from app.cli.canvas import CanvasState, Cell
from app.cli.terminal import Glyphs, harmless

LEAST_CONFIDENT, MOST_CONFIDENT = (230, 159, 0), (0, 158, 115)
"""The colours of the lowest and the highest confidence: orange and green, which colour-blind people can distinguish."""
SPECIAL_TOKEN = re.compile(r"<\|\w+\|>")
"""The expression for special tokens such as the end of the text, of which a canvas may hold many."""
CONTEXT_LINES = 4
"""The number of lines of the given text around the canvas; all of it is printed when the stream has ended."""


def final_text(prefix: str, text: str, suffix: str) -> Text:
    """The given text with the text in its gap."""
    return Text.assemble((harmless(prefix), "dim"), harmless(text), (harmless(suffix), "dim"))


class CanvasDrawing:
    """Draws the current state in no more lines than the terminal has."""

    def __init__(self, state: CanvasState, prefix: str, suffix: str, glyphs: Glyphs) -> None:
        self._state = state
        self._before = _last_lines(harmless(prefix))
        self._behind = _first_lines(harmless(suffix))
        self._glyphs = glyphs
        self._start_s = time.monotonic()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        text = Text.assemble((self._before, "dim"), *self._pieces(), (self._behind, "dim"))
        lines = console.render_lines(text, options, pad=False)
        first = max(0, min(self._first_open_line(console, options) - 2, len(lines) - (console.height - 2)))
        for line in lines[first : first + console.height - 2]:
            yield from line
            yield Segment.line()
        yield Text(self._caption(), style="dim")

    def _pieces(self) -> Iterator[tuple[str, str]]:
        for cell in self._state.cells:
            if cell.text is None:
                yield self._glyphs.mask, "dim"
            elif SPECIAL_TOKEN.fullmatch(cell.text):
                yield self._glyphs.special, _style(cell)
            else:
                yield harmless(cell.text), _style(cell)

    def _first_open_line(self, console: Console, options: ConsoleOptions) -> int:
        cells = self._state.cells
        first_mask = next((index for index, cell in enumerate(cells) if cell.text is None), len(cells))
        up_to_it = self._before + "".join(harmless(cell.text or "") for cell in cells[:first_mask]) + self._glyphs.mask
        return len(console.render_lines(Text(up_to_it), options, pad=False)) - 1

    def _caption(self) -> str:
        cells = self._state.cells
        if not cells:
            return f"waiting for the model, {time.monotonic() - self._start_s:.0f} s"
        num_decided = sum(cell.text is not None for cell in cells)
        return f"step {self._state.num_steps}, {num_decided} of {len(cells)} tokens decided"


def _style(cell: Cell) -> str:
    if cell.confidence is None:
        return ""
    channels = zip(LEAST_CONFIDENT, MOST_CONFIDENT, strict=True)
    red, green, blue = (round(least + (most - least) * cell.confidence) for least, most in channels)
    return f"{'bold ' if cell.is_new else ''}rgb({red},{green},{blue})"


def _last_lines(text: str) -> str:
    return "\n".join(text.split("\n")[-CONTEXT_LINES:])


def _first_lines(text: str) -> str:
    return "\n".join(text.split("\n")[:CONTEXT_LINES])
