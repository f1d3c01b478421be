"""Stop strings end a stream of text."""

from __future__ import annotations

from collections.abc import Sequence

from app.text.errors import TextError
from app.text.line_ends import AS_WRITTEN, with_line_end


class StopStrings:
    """Ends a text before the first stop string in it.

    The earliest match wins; where several start at one position, the shortest. The output
    and `matched` therefore depend on the whole text only, not on how it was split. For that, text is
    held back from the first position on where a stop string may have begun.

    Args:
        line_end: the line end of the text; stop strings are searched for with it, however they were given.
    """

    def __init__(self, stops: Sequence[str], line_end: str = AS_WRITTEN) -> None:
        if "" in stops:
            raise TextError("a stop string is empty; it would stop every text at once")
        self._given = {with_line_end(stop, line_end): stop for stop in reversed(stops)}
        self._stops = sorted(self._given, key=len)
        self._held = ""
        self._matched: str | None = None

    @property
    def matched(self) -> str | None:
        """The stop string that ended the text, as it was given; `None` before that."""
        return None if self._matched is None else self._given[self._matched]

    def feed(self, text: str) -> str:
        """The text that is safe to send now; empty after a match."""
        if self._matched is not None:
            return ""
        self._held += text
        return self._release(self._open_start())

    def flush(self) -> str:
        """The text that was held back, up to a stop string in it; call it at the end of the text."""
        return self._release(len(self._held))

    def _release(self, open_start: int) -> str:
        """Releases [0, open_start) of the held text, or only the text before a match that starts within it."""
        held = self._held
        start, stop = self._first_match()
        if stop is not None and start <= open_start:
            self._matched = stop
            self._held = ""
            return held[:start]
        self._held = held[open_start:]
        return held[:open_start]

    def _first_match(self) -> tuple[int, str | None]:
        found = [(self._held.find(stop), stop) for stop in self._stops]
        return min(
            ((start, stop) for start, stop in found if start >= 0),
            key=lambda match: match[0],  # stops are sorted by length, so a tie goes to the shortest
            default=(len(self._held), None),
        )

    def _open_start(self) -> int:
        """The start of the longest suffix of the held text that is the beginning of a stop string."""
        longest = len(self._stops[-1]) - 1 if self._stops else 0
        for start in range(max(0, len(self._held) - longest), len(self._held)):
            if any(stop.startswith(self._held[start:]) for stop in self._stops):
                return start
        return len(self._held)
