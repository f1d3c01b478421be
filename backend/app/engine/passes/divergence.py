"""Divergences: how far each position's distribution has moved since the last step, which is cached on the device."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


class LastDistributions:
    """The distributions of the last step, for the requests that ask for divergences, by name."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[tuple[int, ...], Tensor]] = {}
        self._newest: dict[str, tuple[tuple[int, ...], Tensor]] = {}

    def divergences(self, name: str, positions: Sequence[int], logits: Tensor) -> list[float]:
        """Σ p·(log p - log q) in nats, of the new distributions p, softmax(logits [R, V]), from the last ones q at the
        same positions; infinite where there was none. The new ones take their place with `step_is_done`.

        Positions 3, 5 and 9 in the last step and 5 and 9 in this one: row 0 of this one is compared with row 1 of the
        last, row 1 with row 2.
        """
        if name in self._newest:  # the step is run again
            self._newest = {}
        new = logits.float().log_softmax(-1)
        before, old = self._last.get(name, ((), new))
        self._newest[name] = (tuple(positions), new)
        rows = {position: row for row, position in enumerate(before)}
        both = [(index, rows[position]) for index, position in enumerate(positions) if position in rows]
        divergences = [math.inf] * len(positions)
        if both:
            here, there = new[[index for index, _ in both]], old[[row for _, row in both]]
            moved = (here.exp() * (here - there).nan_to_num(0.0)).sum(-1).tolist()
            for (index, _), divergence in zip(both, moved, strict=True):
                divergences[index] = divergence
        return divergences

    def step_is_done(self) -> None:
        """Puts the new distributions in the place of the last ones."""
        self._last |= self._newest
        self._newest = {}

    def step_is_over(self) -> None:
        """Drops the new distributions of a step that was not done: when it is run again, whole or in parts, every part
        must find what was there before it."""
        self._newest = {}

    @property
    def names(self) -> set[str]:
        """Names whose distributions are cached."""
        return {*self._last, *self._newest}

    def copy_to(self, name: str, other: LastDistributions, device: torch.device) -> None:
        """Caches what is cached under `name` there too, on another device."""
        if name in self._last:
            positions, distributions = self._last[name]
            other._last[name] = positions, distributions.to(device)

    def forget(self, name: str) -> None:
        """Drops what is cached under `name`, if anything is."""
        for cached in (self._last, self._newest):
            cached.pop(name, None)
