"""The text that has been written for the reader, and how much of it has been sent."""

from __future__ import annotations

from collections.abc import Sequence

from app.engine.canvas.canvas import Canvas


class Transcript:
    """New token ids in reading order: closed rounds, then the final part of the open one.

    Grows only, never changes: its parts in the order of `take_unsent` are the answer, whatever the steps were.
    """

    def __init__(self, end_ids: Sequence[int]) -> None:
        self.closed: list[int] = []
        """Ids of closed rounds."""
        self.ended = False
        """The end of the text has been reached; nothing follows."""
        self.end_ids = end_ids
        self._final: list[int] = []
        self._num_sent = 0

    @property
    def ids(self) -> list[int]:
        """All ids that are final."""
        return [*self.closed, *self._final]

    @property
    def num_sent(self) -> int:
        """Number of ids that have been taken."""
        return self._num_sent

    def follow(self, canvas: Canvas, revisable_from: int | None = None) -> None:
        """Takes in the canvas after a step; what stands from `revisable_from` on may still be taken back.

        Raises:
            AssertionError: what was final is not any more, a defect of the sampler; a reader may have seen it.
        """
        final, ended = canvas.final_ids(self.end_ids, revisable_from)
        self._check_growth(final)
        assert ended or not self.ended, "the text had ended, and goes on"
        self._final, self.ended = final, ended

    def close_round(self, canvas: Canvas) -> list[int]:
        """Closes a round, and gives its ids. No mask that is still there will be filled: what stands behind is final
        too."""
        written = [token_id for token_id in canvas.span_ids if token_id != canvas.mask_id]
        ends = [index for index, token_id in enumerate(written) if token_id in self.end_ids]
        if ends:
            del written[ends[0] :]
            self.ended = True
        self._check_growth(written)
        self.closed += written
        self._final = []
        return written

    def _check_growth(self, ids: Sequence[int]) -> None:
        was = self._final
        assert list(ids[: len(was)]) == was, f"final ids {was} have become {list(ids[: len(was)])}"

    def take_unsent(self) -> tuple[int, ...]:
        """Gives the final ids that have not been taken before."""
        new = tuple(self.ids[self._num_sent :])
        self._num_sent += len(new)
        return new
