"""Computes the gradient of a batch in several threads, each of which takes some of the sequences on one core.

The many small operations of a short-sequence batch use only one core at a time, however many threads share each
operation; parts of the batch side by side use all cores. PyTorch computes without Python's lock, so threads are enough.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise

import torch

from app.engine.models.base import FamilyModel
from training.objectives import Batch
from training.passes import Bf16Pass, Pass, PlainPass


class Gradients:
    """Computes gradients with `num_threads` threads; the default is PyTorch's number on the CPU, and one elsewhere.

    The parts are summed in order: the result depends on their number, not on which thread finishes first.
    """

    def __init__(self, model: FamilyModel, *, is_bf16: bool = False, num_threads: int | None = None) -> None:
        self._model = model
        self._device = next(model.parameters()).device
        self._is_bf16 = is_bf16
        self._num_threads = num_threads or (torch.get_num_threads() if self._device.type == "cpu" else 1)
        self._num_threads_before = torch.get_num_threads()
        self._threads = ThreadPoolExecutor(self._num_threads, "gradient", initializer=_use_one_core)

    def compute(self, batch: Batch) -> float:
        """Writes the gradient of the batch's mean loss into the parameters, and gives that loss."""
        total_weight, step = batch.weights.sum(), self._pass()
        parts = split(batch, self._num_threads)
        if len(parts) == 1:
            done = [step.part(parts[0], total_weight)]
        else:
            done = list(self._threads.map(step.part, parts, [total_weight] * len(parts)))
        sums = [sum(gradients[1:], start=gradients[0]) for gradients in zip(*(own for _, own in done), strict=True)]
        for parameter, gradient in zip(self._model.parameters(), step.finish(sums), strict=True):
            parameter.grad = gradient
        return float(sum(loss for loss, _ in done))

    def _pass(self) -> Pass:
        if self._is_bf16 and self._device.type == "cpu":
            return Bf16Pass(self._model)
        return PlainPass(self._model, is_bf16=self._is_bf16)

    def close(self) -> None:
        self._threads.shutdown()
        # Threads that are started later would inherit the number that these set for themselves.
        torch.set_num_threads(self._num_threads_before)


def _use_one_core() -> None:
    torch.set_num_threads(1)


def split(batch: Batch, num_parts: int) -> list[Batch]:
    """The batch in parts of adjacent sequences with about equal numbers of tokens; at most one part per sequence."""
    target = len(batch.ids) / num_parts
    bounds, end, parts = [0], 0, []
    for length in batch.lengths:
        end += length
        if end >= target * len(bounds) or end == len(batch.ids):
            bounds.append(end)
    starts = torch.tensor(batch.lengths).cumsum(0)
    for start, stop in pairwise(bounds):
        chosen = (batch.rows >= start) & (batch.rows < stop)
        if chosen.any():
            first, last = int((starts <= start).sum()), int((starts <= stop).sum())
            parts.append(
                replace(
                    batch,
                    ids=batch.ids[start:stop],
                    positions=batch.positions[start:stop],
                    lengths=batch.lengths[first:last],
                    rows=batch.rows[chosen] - start,
                    targets=batch.targets[chosen],
                    weights=batch.weights[chosen],
                )
            )
    return parts
