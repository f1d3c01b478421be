"""Kept keys and values of the sequences with a window, for a model that runs as graphs.

Sequences whose windows are computed together lie in one stack, so that a pass reads them where they are. A pass over
whole sequences leaves such a stack; another one is made only when others come together. Inside a stack nothing ever
moves: how far tokens have moved since is a matter of their positions (`layout.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Stack = list[Floats]
"""Keys of the first layer, its values, those of the next: [B, K, S, D] each."""


@dataclass(frozen=True, slots=True)
class _Place:
    stack: Stack
    lane: int
    length: int
    """Tokens of the sequence; what is behind them in the lane is of no meaning."""


class KeptKeys:
    """Keys and values by name of their sequence."""

    def __init__(self) -> None:
        self._places: dict[str, _Place] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def length(self, name: str) -> int:
        """Tokens that are kept."""
        return self._places[name].length

    def keep(self, names: Sequence[str | None], lengths: Sequence[int], stack: Stack) -> None:
        """Keeps, of each lane with a name, so many tokens; the stack itself, if that is all of it."""
        wanted = [(name, length) for name, length in zip(names, lengths, strict=True) if name is not None]
        if len(wanted) < len(names):
            lanes = [lane for lane, name in enumerate(names) if name is not None]
            stack = [array[lanes] for array in stack]
        for lane, (name, length) in enumerate(wanted):
            self._places[name] = _Place(stack, lane, length)

    def together(self, names: Sequence[str]) -> Stack:
        """Of these sequences in their order, and of no others."""
        places = [self._places[name] for name in names]
        first = places[0]
        lanes = range(first.lane, first.lane + len(names))
        is_there = all(
            place.stack is first.stack and place.lane == lane for place, lane in zip(places, lanes, strict=True)
        )
        if is_there and len(first.stack[0]) <= 2 * len(names):
            return [array[lanes.start : lanes.stop] for array in first.stack]
        stack = _stacked(places)
        self.keep(names, [place.length for place in places], stack)
        return stack

    def renew(self, name: str, start: int, fresh: Sequence[Floats]) -> None:
        """Puts fresh keys and values, [K, L, D] each, in place of those of as many tokens from `start` on."""
        place = self._places[name]
        for kept, new in zip(place.stack, fresh, strict=True):
            kept[place.lane, :, start : start + new.shape[1]] = new

    def lane(self, name: str) -> Stack:
        """Keys and values of one sequence: [K, L, D] each."""
        place = self._places[name]
        return [array[place.lane, :, : place.length] for array in place.stack]

    def kept_names(self) -> set[str]:
        """Names of the sequences, each with a lane of its own in a stack that holds all of its tokens."""
        lanes = [(id(place.stack), place.lane) for place in self._places.values()]
        assert len({*lanes}) == len(lanes), "two sequences share a lane"
        for name, place in self._places.items():
            sizes = {(array.shape[0], array.shape[2]) for array in place.stack}
            assert len(sizes) == 1, f"layers of {name} hold {sorted(sizes)} lanes and tokens"
            num_lanes, num_places = sizes.pop()
            assert place.lane < num_lanes, f"{name} is in lane {place.lane} of {num_lanes}"
            assert place.length <= num_places, f"{name} has {place.length} tokens in {num_places} places"
        return {*self._places}

    def drop(self, name: str) -> None:
        """Forgets a sequence, if it is kept; a stack goes with the last of its sequences."""
        self._places.pop(name, None)


def _stacked(places: Sequence[_Place]) -> Stack:
    most = max(place.length for place in places)
    stack = []
    for number, array in enumerate(places[0].stack):
        _, num_heads, _, head_dim = array.shape
        stacked = np.zeros((len(places), num_heads, most, head_dim), np.float32)
        for lane, place in enumerate(places):
            stacked[lane, :, : place.length] = place.stack[number][place.lane, :, : place.length]
        stack.append(stacked)
    return stack
