"""A device that runs out of memory on demand: the real error, raised inside the real forward pass.

    python -m tests.faults      the server, whose models live on such devices

`FAULTS` in the environment says when, by the number of the pass: `every=7` (each seventh), `from=100,to=140` (all of
these), `above=2` (those of more than 2 sequences), `die=50` (the engine's thread ends there), in any combination.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from app.engine.interface.config import RuntimeName
from app.engine.models.base import FamilyModel
from app.engine.passes.runner import ModelRunner
from app.engine.passes.work import SequenceInput

DEVICE_NAME = "cuda:0"
"""The name of the device; its tensors are in main memory."""

IsFault = Callable[[int, int], bool]
"""Whether a pass fails, from its number, counted from 1, and the number of its sequences."""


class FaultyRunner(ModelRunner):
    """A device with faults. Its passes are counted, those that fail included."""

    def __init__(self, model: FamilyModel, is_fault: IsFault, cpu_runtime: RuntimeName = "auto") -> None:
        super().__init__(model, DEVICE_NAME, cpu_runtime)
        self.is_fault = is_fault
        self.num_passes = 0

    def logits(self, sequences: Sequence[SequenceInput]) -> Tensor:
        self.num_passes += 1
        if self.is_fault(self.num_passes, len(sequences)):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return super().logits(sequences)


def schedule(text: str) -> IsFault:
    """The faults that `FAULTS` describes."""
    numbers = {name: int(value) for name, _, value in (part.partition("=") for part in text.split(",") if part)}
    span = range(numbers["from"], numbers["to"] + 1) if "from" in numbers else range(0)

    def is_fault(number: int, num_sequences: int) -> bool:
        if number == numbers.get("die"):
            raise SystemExit("pulled out of the rack")
        is_periodic = "every" in numbers and number % numbers["every"] == 0
        return is_periodic or number in span or num_sequences > numbers.get("above", sys.maxsize)

    return is_fault


def _serve() -> int:
    from app.engine import thread
    from main import main

    text = os.environ.get("FAULTS", "")

    def make_runner(model: FamilyModel, *_: Any, **_options: Any) -> ModelRunner:
        return FaultyRunner(model, schedule(text))

    setattr(thread, "ModelRunner", make_runner)  # noqa: B010 - to a type checker a class is no place for a function
    return main()


if __name__ == "__main__":
    sys.exit(_serve())
