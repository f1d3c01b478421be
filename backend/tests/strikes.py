"""Faults that strike inside a pass: in its n-th allocation, layer or session, in the copy to the host, in sampling, …

`tests/faults.py` raises before a pass begins, where there is nothing yet that could be left half-done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from app.engine.cache import lanes, store
from app.engine.decoding import adjustment, sampling
from app.engine.models import attention
from app.engine.passes import graph_forward, reading, runner
from app.engine.passes.divergence import LastDistributions
from app.engine.passes.graphs import PassGraph
from app.engine.passes.runner import ModelRunner

ALLOCATION = "allocation"
POINTS: Mapping[str, tuple[Any, str]] = {
    "layer": (attention.PackedAttention, "__call__"),
    "filling": (store.KeyValues, "fill"),
    "making room": (store, "_with_room"),
    "writing": (store.KeyValues, "write"),
    "session": (PassGraph, "run"),
    "layout": (graph_forward, "arrays_of"),
    "stacking": (lanes, "_stacked"),
    "storing": (graph_forward.GraphForward, "_store"),
    "guidance": (reading, "guide"),
    "penalty": (adjustment, "penalise"),
    "sampling": (reading, "predict"),
    "drawing": (sampling, "draw"),
    "copy": (torch.Tensor, "tolist"),
    "log-probabilities": (runner, "log_probabilities"),
    "divergence": (LastDistributions, "divergences"),
    "support": (runner, "probabilities_of"),
}
"""The points where a strike can fall, function by function; an allocation is any operator of PyTorch."""
KINDS: Mapping[str, Callable[[], Exception]] = {
    "device": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "host": lambda: MemoryError("std::bad_alloc"),
    "defect": lambda: RuntimeError("a kernel that does not do what it should"),
}


@dataclass(frozen=True)
class Strike:
    """One fault."""

    point: str
    number: int
    """The number of the occurrence of its point, counted from 1 over all passes."""
    kind: str = "device"


class Striking:
    """Counts what happens inside passes, and raises when it is time to."""

    def __init__(self, strikes: Sequence[Strike]) -> None:
        self._due = {(strike.point, strike.number): strike.kind for strike in strikes}
        self._counts: dict[str, int] = {}
        self._depth = 0
        self.struck: list[Strike] = []

    def heed(self, point: str) -> None:
        """Counts an occurrence of the point, and raises if a strike falls there."""
        if not self._depth:
            return
        number = self._counts[point] = self._counts.get(point, 0) + 1
        kind = self._due.get((point, number))
        if kind is not None:
            self.struck.append(Strike(point, number, kind))
            raise KINDS[kind]()

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Marks the block as the inside of a pass."""
        self._depth += 1
        counts_allocations = any(point == ALLOCATION for point, _ in self._due)  # which takes its time
        try:
            with _Allocations(self) if counts_allocations else nullcontext():
                yield
        finally:
            self._depth -= 1


class _Allocations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, striking: Striking) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._striking = striking

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._striking.heed(ALLOCATION)
        return func(*args, **(kwargs or {}))


@contextmanager
def struck_by(*strikes: Strike) -> Iterator[Striking]:
    """Strikes every pass of every runner until the end of the block."""
    striking, run = Striking(strikes), ModelRunner.run

    def struck_run(self: ModelRunner, *args: Any) -> Any:
        with striking.inside():
            return run(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        for point, (owner, name) in POINTS.items():
            patch.setattr(owner, name, _heeding(striking, point, getattr(owner, name)))
        patch.setattr(ModelRunner, "run", struck_run)
        yield striking


def _heeding(striking: Striking, point: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def heeding(*args: Any, **options: Any) -> Any:
        striking.heed(point)
        return function(*args, **options)

    return heeding
