"""Draws batches as a function of seed, step and stage: on demand, or ahead of time in other processes."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field, fields, replace
from multiprocessing import connection, get_context, parent_process
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.objectives import OBJECTIVES, Batch, Chance, Language, Objective, Sample, collate
from training.prepare import Corpus
from training.recipe import Stage

POOL_TOKENS = 131_072
"""The approximate number of tokens in a pool of samples, from which batches with many equal lengths are dealt."""
LENGTH_CLASSES = 10
"""The number of runs of samples of similar lengths in a batch; equal lengths share one attention call."""


def draw_samples(corpus: Corpus, language: Language, stage: Stage, batch_tokens: int, seed: list[int]) -> list[Sample]:
    """The samples of a batch, about `batch_tokens` tokens in total; masking ratios are spread evenly over (0.02, 1)."""
    chance = np.random.default_rng(seed)
    expected = max(1, round(batch_tokens * len(corpus) / len(corpus.ids)))
    offset = chance.random()
    samples = []
    for i in chance.permutation(expected):
        number = int(chance.integers(len(corpus)))
        is_code = bool(corpus.is_code[number])
        objective = _drawn_objective(stage.mixture_of(is_code=is_code), chance)
        ratio = 0.02 + 0.98 * ((i + offset) / expected)
        its = language if is_code or stage.prose_mixture is None else replace(language, is_code=False)
        samples.append(objective(corpus[number].tolist(), ratio, its, chance))
    return samples


def _drawn_objective(mixture: dict[str, float], chance: Chance) -> Objective:
    shares = np.array(list(mixture.values()))
    return OBJECTIVES[list(mixture)[int(chance.choice(len(shares), p=shares / shares.sum()))]]


def deal(samples: list[Sample], num_batches: int, seed: list[int]) -> list[list[Sample]]:
    """Deals samples to batches: each gets one run of similar lengths from every tenth of the sorted samples.

    A batch thus has the same mix of short and long samples as the whole, and yet few different lengths.
    """
    if num_batches == 1:
        return [samples]
    chance = np.random.default_rng(seed)
    ordered = sorted(samples, key=lambda sample: len(sample.ids))
    runs = np.array_split(np.arange(len(ordered)), num_batches * LENGTH_CLASSES)
    batches: list[list[Sample]] = [[] for _ in range(num_batches)]
    for start in range(0, len(runs), num_batches):
        for batch, run in zip(chance.permutation(num_batches), runs[start : start + num_batches], strict=True):
            batches[batch] += [ordered[i] for i in run]
    return batches


@dataclass(slots=True)
class _Pool:
    """The batches of one pool, cached while they are taken one after the other."""

    key: tuple[int, Stage] | None = None
    batches: list[list[Sample]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Drawing:
    """The inputs of a batch other than step and stage."""

    corpus: Corpus
    language: Language
    batch_tokens: int
    seed: int
    shift: int
    _pool: _Pool = field(default_factory=_Pool, compare=False)

    def take(self, step: int, stage: Stage) -> Batch:
        num_batches = max(1, POOL_TOKENS // self.batch_tokens)
        pool, index = divmod(step, num_batches)
        if self._pool.key != (pool, stage):
            tokens = num_batches * self.batch_tokens
            samples = draw_samples(self.corpus, self.language, stage, tokens, [self.seed, pool])
            self._pool.batches = deal(samples, num_batches, [self.seed, pool, 1])
            self._pool.key = (pool, stage)
        return collate(self._pool.batches[index], self.shift)

    def close(self) -> None:
        """Releases nothing; the method lets a Drawing replace a `BatchQueue`."""


class BatchQueue:
    """Draws the batches of a `Drawing` some steps ahead in `num_workers` processes; only one thread may use it.

    A batch that was drawn ahead for a stage that has ended is drawn again, so the batches equal those of
    `Drawing.take`.
    """

    def __init__(self, drawing: Drawing, num_workers: int) -> None:
        self._depth = 2 * num_workers
        self._ahead: deque[tuple[int, Stage, Future[dict[str, Any]]]] = deque()
        # A forked child of a process that has threads and a CUDA context can hang; a spawned one starts clean.
        context = get_context("spawn")
        self._pool = ProcessPoolExecutor(num_workers, context, initializer=_start_worker, initargs=(drawing,))

    def take(self, step: int, stage: Stage) -> Batch:
        """The batch of one step; a step out of order discards the batches that were drawn ahead."""
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
"""The drawing of a worker process; it is sent once, not with every step."""


def _start_worker(drawing: Drawing) -> None:
    global _drawing
    _drawing = drawing
    torch.set_num_threads(1)
    # Ctrl-C reaches the whole group of processes: the run saves a checkpoint first and ends its workers then.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """Ends this worker with its parent; a killed run cannot end its workers, which would wait for work forever."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _drawn_arrays(step: int, stage: Stage) -> dict[str, Any]:
    """The batch as arrays; each tensor would take a file descriptor on its way to the parent."""
    assert _drawing is not None, "the pool calls _start_worker in each of its processes first"
    batch = _drawing.take(step, stage)
    values = {field.name: getattr(batch, field.name) for field in fields(Batch)}
    return {name: value.numpy() if isinstance(value, Tensor) else value for name, value in values.items()}


def on_device(batch: Batch, device: torch.device) -> Batch:
    """The batch on the device, with lengths on the CPU; copies from pinned memory run beside the computation."""
    if device.type == "cpu":
        return batch
    tensors = {field.name: getattr(batch, field.name) for field in fields(Batch) if field.name != "lengths"}
    moved = {name: tensor.pin_memory().to(device, non_blocking=True) for name, tensor in tensors.items()}
    return replace(batch, **moved)
