"""The answer to one request: its text with the client's line ends, up to a stop string, and its token count."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from app.text.line_ends import AS_WRITTEN, LineEndWriter
from app.text.stop import StopStrings


class Answer:
    """Passes pieces of final text on with the line ends of the given text, and counts tokens.

    Text that may be the beginning of a stop string is held back.

    A token counts if its text begins before the end of the released text. So a token that a stop string cuts in two
    counts, and one that lies wholly inside or behind the stop string does not.
    """

    def __init__(self, stops: Sequence[str], line_end: str = AS_WRITTEN) -> None:
        self._writer = LineEndWriter(line_end)
        self._stops = StopStrings(stops, line_end)
        self._num_kept_characters = 0
        self._num_characters = 0
        self._starts: deque[tuple[int, int]] = (
            deque()
        )  # of pieces that do not count yet: where they begin, their tokens
        self.num_tokens = 0
        """Tokens of the released text. Text that is still held back does not count."""
        self._notes: deque[tuple[int, Any]] = deque()  # what was noted of each token, and where its piece begins

    @property
    def is_stopped(self) -> bool:
        """Whether a stop string has ended the text."""
        return self._stops.matched is not None

    @property
    def stop_string(self) -> str | None:
        """The stop string that has ended the text."""
        return self._stops.matched

    def feed(self, piece: str, num_tokens: int, notes: Iterable[Any] = ()) -> str:
        """The text that may be shown now.

        Args:
            notes: one per token; `take_notes` gives them back once the token counts.
        """
        piece = self._writer.feed(piece)
        self._starts.append((self._num_characters, num_tokens))
        self._notes.extend((self._num_characters, note) for note in notes)
        self._num_characters += len(piece)
        return self._keep(self._stops.feed(piece))

    def flush(self) -> str:
        """The text that was held back, when the model has nothing more to say."""
        return self._keep(self._stops.flush())

    def take_notes(self) -> list[tuple[int, Any]]:
        """The offsets of the tokens of the released text, and what was noted of each; each is given once."""
        taken = []
        while self._notes and self._notes[0][0] < self._num_kept_characters:
            taken.append(self._notes.popleft())
        return taken

    def _keep(self, text: str) -> str:
        self._num_kept_characters += len(text)
        while self._starts and self._starts[0][0] < self._num_kept_characters:
            self.num_tokens += self._starts.popleft()[1]
        return text
