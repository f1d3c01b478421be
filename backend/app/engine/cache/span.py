"""The part that one pass computes of a sequence whose keys and values are cached.

    canvas, 12 positions     p p p p m m m m m m m m
    ComputedSpan((4, 8))     r r r r C C C C r r r r      C is computed, r is read from the cache
    WHOLE                    C C C C C C C C C C C C      and all of it is cached

    ComputedSpan((4, 8), cached_to=6)
                             r r r r S S C C . . . .      S stays cached, and nothing sees what is behind

Has nothing to do with the context window, which is the part of a long text that becomes a canvas.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ComputedSpan:
    """The positions that a pass computes; keys and values of all others are read from the cache."""

    bounds: tuple[int, int] | None = None
    """Positions [start, end); `None`: the whole sequence, whose keys and values then take the place of all that was
    cached of it. From one such pass to the next, tokens may come and go inside the bounds and nowhere else."""
    stores: bool = False
    """Whether keys and values of these positions are cached, for passes that will not compute them. There must be as
    many of them as there were when they were last cached. A whole sequence is always stored. What is computed and not
    stored must be computed again by the next pass, whatever else that computes."""
    cached_to: int | None = None
    """The position before which the sequence is cached after the pass, where it is finished from left to right and no
    token sees what is behind its block; `None`: every token sees every other, and the fields above say it all."""

    def within(self, positions: tuple[int, ...]) -> tuple[int, ...]:
        """The positions that lie in the span."""
        if self.bounds is None:
            return positions
        start, end = self.bounds
        return tuple(position for position in positions if start <= position < end)

    def reaching_back(self, num_positions: int) -> ComputedSpan:
        """The span and `num_positions` before it, as far as there are any: Dream predicts position i at row i - 1."""
        if self.bounds is None:
            return self
        if self.cached_to is not None:  # what is cached before the span is final, its predictions too
            return self
        start, end = self.bounds
        return ComputedSpan((max(start - num_positions, 0), end), self.stores)

    def num_cached(self, length: int) -> int:
        """Tokens that are cached after a pass over a sequence of `length`."""
        return length if self.cached_to is None else self.cached_to


WHOLE = ComputedSpan()
"""All positions of the sequence."""
