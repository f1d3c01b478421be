"""The canvas: the token ids of one request, given text and masks together, and the verbs that change it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress


class Canvas:
    """Ids of one round, on the host. Its request is the only one to change it.

        [0 ............ span_start) given text before the gap
        [span_start ..... span_end) the new part: masks that become tokens
        [span_end ........ len(ids)) given text after the gap

    Masks outside the span are tolerated, as the published samplers do: they are denoised like any other.
    """

    def __init__(self, prefix: Sequence[int], num_masks: int, suffix: Sequence[int], mask_id: int) -> None:
        self.ids = [*prefix, *[mask_id] * num_masks, *suffix]
        self.span_start = len(prefix)
        self.span_end = len(prefix) + num_masks
        self.mask_id = mask_id

    def copy(self) -> Canvas:
        """Gives a canvas that is changed apart from this one."""
        other = Canvas((), 0, (), self.mask_id)
        other.ids, other.span_start, other.span_end = [*self.ids], self.span_start, self.span_end
        return other

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def span_length(self) -> int:
        return self.span_end - self.span_start

    @property
    def span_ids(self) -> list[int]:
        """The new part, undecided positions included."""
        return self.ids[self.span_start : self.span_end]

    def masked(self, before: int | None = None) -> list[int]:
        """Positions that hold a mask, in reading order; only those left of `before` if it is given."""
        end = len(self.ids) if before is None else before
        positions, position = [], -1
        with suppress(ValueError):  # that there are no more
            while True:
                position = self.ids.index(self.mask_id, position + 1, end)
                positions.append(position)
        return positions

    def commit(self, index: int, token_id: int) -> None:
        """A mask becomes a token. The mask token itself is allowed and leaves the position undecided."""
        assert self.ids[index] == self.mask_id, "a decided position is never written again"
        self.ids[index] = token_id

    def remask(self, index: int) -> None:
        """A token becomes undecided again: an expand token that found no room, or a commit that is taken back."""
        self.ids[index] = self.mask_id

    def expand(self, index: int) -> None:
        """The token at `index` becomes two masks; everything to its right moves by one."""
        self.ids[index : index + 1] = [self.mask_id, self.mask_id]
        self._shift_span(index, +1)

    def delete(self, index: int) -> None:
        """The token at `index` vanishes; everything to its right moves back by one."""
        del self.ids[index]
        self._shift_span(index, -1)

    def _shift_span(self, index: int, by: int) -> None:
        if index < self.span_start:
            self.span_start += by
        if index < self.span_end:
            self.span_end += by

    def final_ids(self, end_ids: Collection[int], revisable_from: int | None = None) -> tuple[list[int], bool]:
        """The part of the span that can no longer change for the reader, and whether it reaches the end of the text.

        It goes up to the first mask, to the first id in `end_ids`, which is not part of it, or to `revisable_from`.
        """
        end = self.span_end if revisable_from is None else min(self.span_end, revisable_from)
        final = self.ids[self.span_start : end]
        if self.mask_id in final:
            final = final[: final.index(self.mask_id)]
        ends = [final.index(token_id) for token_id in end_ids if token_id in final]
        return final[: min(ends, default=None)], bool(ends)
