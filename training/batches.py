"""Batches as a function of seed, step and stage: drawn when they are asked for, or ahead of time by other processes."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, fields, replace
from multiprocessing import connection, get_context, parent_process
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.objectives import OBJECTIVES, Batch, Language, Sample, collate
from training.prepare import Corpus
from training.recipe import Stage


def draw_samples(corpus: Corpus, language: Language, stage: Stage, batch_tokens: int, seed: list[int]) -> list[Sample]:
    """Samples of about `batch_tokens` tokens in all; their masking ratios are spread evenly over (0.02, 1)."""
    chance = np.random.default_rng(seed)
    names = list(stage.mixture)
    shares = np.array([stage.mixture[name] for name in names])
    expected = max(1, round(batch_tokens * len(corpus) / len(corpus.ids)))
    offset = chance.random()
    samples = []
    for i in chance.permutation(expected):
        document = corpus[int(chance.integers(len(corpus)))].tolist()
        name = names[int(chance.choice(len(names), p=shares / shares.sum()))]
        ratio = 0.02 + 0.98 * ((i + offset) / expected)
        samples.append(OBJECTIVES[name](document, ratio, language, chance))
    return samples


@dataclass(frozen=True, slots=True)
class Drawing:
    """Everything but step and stage that a batch depends on."""

    corpus: Corpus
    language: Language
    batch_tokens: int
    seed: int
    shift: int

    def take(self, step: int, stage: Stage) -> Batch:
        samples = draw_samples(self.corpus, self.language, stage, self.batch_tokens, [self.seed, step])
        return collate(samples, self.shift)

    def close(self) -> None:
        """Nothing to release; here so that it can stand where a `BatchQueue` can."""


class BatchQueue:
    """The batches of a `Drawing`, some steps ahead in `num_workers` processes. To be used by one thread.

    What was drawn ahead for a stage that has ended meanwhile is drawn again: the batches are those of `Drawing.take`.
    """

    def __init__(self, drawing: Drawing, num_workers: int) -> None:
        self._depth = 2 * num_workers
        self._ahead: deque[tuple[int, Stage, Future[dict[str, Any]]]] = deque()
        # A forked child of a process that has threads and a CUDA context can hang; a spawned one starts clean.
        context = get_context("spawn")
        self._pool = ProcessPoolExecutor(num_workers, context, initializer=_start_worker, initargs=(drawing,))

    def take(self, step: int, stage: Stage) -> Batch:
        """The batch of one step. Steps are expected in order; any other begins anew."""
        if self._ahead and self._ahead[0][:2] != (step, stage):
            self._drop()
        while len(self._ahead) < self._depth:
            later = step + len(self._ahead)
            self._ahead.append((later, stage, self._pool.submit(_drawn_arrays, later, stage)))
        arrays = self._ahead.popleft()[2].result()
        values: dict[str, Any] = {
            name: torch.from_numpy(a) if isinstance(a, np.ndarray) else a for name, a in arrays.items()
        }
        return Batch(**values)

    def close(self) -> None:
        self._drop()
        self._pool.shutdown()

    def _drop(self) -> None:
        for _, _, future in self._ahead:
            future.cancel()
        self._ahead.clear()


_drawing: Drawing | None = None
"""In a worker process: what it draws from. It is sent once, not with every step."""


def _start_worker(drawing: Drawing) -> None:
    global _drawing
    _drawing = drawing
    torch.set_num_threads(1)
    # Ctrl-C reaches the whole group of processes: the run saves a checkpoint first and ends its workers then.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """A killed run cannot end its workers, which would wait for work forever."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _drawn_arrays(step: int, stage: Stage) -> dict[str, Any]:
    """A batch as arrays: tensors would each take a file descriptor on their way to the parent."""
    assert _drawing is not None, "the pool calls _start_worker in each of its processes first"
    batch = _drawing.take(step, stage)
    values = {field.name: getattr(batch, field.name) for field in fields(Batch)}
    return {name: value.numpy() if isinstance(value, Tensor) else value for name, value in values.items()}


def on_device(batch: Batch, device: torch.device) -> Batch:
    """The batch on the device; lengths stay on the CPU. Copies from pinned memory run beside the computation."""
    if device.type == "cpu":
        return batch
    tensors = {field.name: getattr(batch, field.name) for field in fields(Batch) if field.name != "lengths"}
    moved = {name: tensor.pin_memory().to(device, non_blocking=True) for name, tensor in tensors.items()}
    return replace(batch, **moved)
