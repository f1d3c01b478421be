"""Cached keys and values for a model that runs as graphs.

Sequences whose spans are computed together lie in one stack, so that a pass reads them where they are. A pass over
whole sequences leaves such a stack; another one is made only when other sequences come together. Inside a stack nothing
ever moves: how far tokens have moved since is a matter of their positions (`passes/layout.py`).

    stack[0], keys of the first layer [B = 3, K, S = 6, D]       _Lane of "b": the stack, index 1, length 4
        lane 0   a0 a1 a2 a3 a4 a5
        lane 1   b0 b1 b2 b3 .  .       slots behind a sequence's tokens hold numbers without a meaning
        lane 2   c0 c1 c2 c3 c4 .

`gather(["b", "c"])` gives lanes 1 and 2 as they lie. `gather(["c", "a"])` copies the two into a new stack, which they
share from then on; the old one goes with "b".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.engine.cache.growing import room_for

Floats = npt.NDArray[np.float32]
Stack = list[Floats]
"""Keys of the first layer, its values, those of the next: [B, K, S, D] each."""


@dataclass(frozen=True, slots=True)
class _Lane:
    """The place of one sequence in a stack."""

    stack: Stack
    index: int
    """Its row in each of the stack's arrays."""
    length: int
    """Tokens of the sequence; slots behind them have no meaning."""


class CachedLanes:
    """Cached keys and values by the name of their sequence.

    Every method either comes to its end or leaves what is cached as it was, for it changes nothing before all memory
    that it needs has been allocated.
    """

    def __init__(self) -> None:
        self._lanes: dict[str, _Lane] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._lanes

    def length(self, name: str) -> int:
        """Number of tokens whose keys and values are cached."""
        return self._lanes[name].length

    def store(self, names: Sequence[str | None], lengths: Sequence[int], stack: Stack) -> None:
        """Caches the first `lengths[i]` tokens of each lane i that has a name; takes over the stack itself where every
        lane has one."""
        named = [(name, length) for name, length in zip(names, lengths, strict=True) if name is not None]
        if len(named) < len(names):
            indices = [index for index, name in enumerate(names) if name is not None]
            stack = [array[indices] for array in stack]
        for index, (name, length) in enumerate(named):
            self._lanes[name] = _Lane(stack, index, length)

    def gather(self, names: Sequence[str]) -> Stack:
        """A stack of these sequences in their order, and of no others."""
        lanes = [self._lanes[name] for name in names]
        first = lanes[0]
        indices = range(first.index, first.index + len(names))
        is_there = all(
            lane.stack is first.stack and lane.index == index for lane, index in zip(lanes, indices, strict=True)
        )
        # A few sequences must not hold the memory of many that are over.
        if is_there and len(first.stack[0]) <= 2 * len(names):
            return [array[indices.start : indices.stop] for array in first.stack]
        self._move(names, max(lane.length for lane in lanes))
        return self._lanes[names[0]].stack

    def refresh(self, name: str, start: int, fresh: Sequence[Floats]) -> None:
        """Puts fresh keys and values, [K, L, D] each, in place of those of L tokens from `start` on."""
        lane = self._lanes[name]
        for cached, new in zip(lane.stack, fresh, strict=True):
            cached[lane.index, :, start : start + new.shape[1]] = new

    def extend(self, name: str, start: int, fresh: Sequence[Floats]) -> None:
        """Puts keys and values, [K, L, D] each, of L tokens behind the first `start`; what was cached there goes. Where
        the stack has too few slots, all of its sequences move to a larger one."""
        lane = self._lanes[name]
        end = start + fresh[0].shape[1]
        if end > lane.stack[0].shape[2]:
            self._move([other for other, at in self._lanes.items() if at.stack is lane.stack], room_for(end))
            lane = self._lanes[name]
        for cached, new in zip(lane.stack, fresh, strict=True):
            cached[lane.index, :, start:end] = new
        self._lanes[name] = _Lane(lane.stack, lane.index, end)

    def _move(self, names: Sequence[str], num_slots: int) -> None:
        lanes = [self._lanes[name] for name in names]
        self.store(names, [lane.length for lane in lanes], _stacked(lanes, num_slots))

    def read(self, name: str) -> Stack:
        """Keys and values of one sequence: [K, length, D] each."""
        lane = self._lanes[name]
        return [array[lane.index, :, : lane.length] for array in lane.stack]

    def checked_names(self) -> set[str]:
        """Names of the sequences that are cached.

        Raises:
            AssertionError: two of them share a lane, or a stack does not hold all tokens of one.
        """
        lanes = [(id(lane.stack), lane.index) for lane in self._lanes.values()]
        assert len({*lanes}) == len(lanes), "two sequences share a lane"
        for name, lane in self._lanes.items():
            sizes = {(array.shape[0], array.shape[2]) for array in lane.stack}
            assert len(sizes) == 1, f"layers of {name} hold {sorted(sizes)} lanes and tokens"
            num_lanes, num_slots = sizes.pop()
            assert lane.index < num_lanes, f"{name} is in lane {lane.index} of {num_lanes}"
            assert lane.length <= num_slots, f"{name} has {lane.length} tokens in {num_slots} slots"
        return {*self._lanes}

    def drop(self, name: str) -> None:
        """Forgets a sequence, if it is cached; a stack goes with the last of its sequences."""
        self._lanes.pop(name, None)


def _stacked(lanes: Sequence[_Lane], num_slots: int) -> Stack:
    """Copies the lanes into one stack, each filled up with zeros."""
    stack = []
    for number, array in enumerate(lanes[0].stack):
        _, num_heads, _, head_dim = array.shape
        stacked = np.zeros((len(lanes), num_heads, num_slots, head_dim), np.float32)
        for index, lane in enumerate(lanes):
            stacked[index, :, : lane.length] = lane.stack[number][lane.index, :, : lane.length]
        stack.append(stacked)
    return stack
