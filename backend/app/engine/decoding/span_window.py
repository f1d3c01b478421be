"""The window of the Dream family's cache."""

from __future__ import annotations

from app.engine.canvas.canvas import Canvas
from app.engine.interface.params import DecodingParams


class SpanWindow:
    """The window of the Dream family's cache: the span, whatever its length; now and then the whole canvas."""

    def __init__(self, params: DecodingParams) -> None:
        self._is_on = params.cache != "none"
        self._refresh = params.cache_refresh
        self._num_steps = 0

    def next(self, canvas: Canvas) -> tuple[int, int] | None:
        """Of the next step. Masks in the given text need the whole canvas."""
        is_whole = self._num_steps == 0 or (self._refresh is not None and self._num_steps % self._refresh == 0)
        self._num_steps += 1
        masked = canvas.masked()
        is_inside = not masked or (canvas.span_start <= masked[0] and masked[-1] < canvas.span_end)
        return None if not self._is_on or is_whole or not is_inside else (canvas.span_start, canvas.span_end)
