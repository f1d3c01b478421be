"""A device that runs out of memory when it is told to: the real error, raised inside the real forward pass.

    python -m tests.faults      the server, whose models live on such a device

`FAULTS` in the environment says when: `every=7` (each seventh pass), `above=2` (passes of more than 2 requests),
`from=100,to=140` (all passes numbered so), in any combination, separated by commas.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from app.engine.models.base import FamilyModel
from app.engine.runner import ModelRunner
from app.engine.work import SequenceInput

DEVICE_NAME = "cuda:0"
"""What the device calls itself; its tensors lie in main memory."""

IsFault = Callable[[int, int], bool]
"""Number of the pass, counted from 1 -> number of sequences -> whether it fails."""


class FaultyRunner(ModelRunner):
    """A device with faults. Its passes are counted, those that fail included."""

    def __init__(self, model: FamilyModel, is_fault: IsFault) -> None:
        super().__init__(model, DEVICE_NAME)
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
    first, last = numbers.get("from", 1 if "to" in numbers else 0), numbers.get("to", sys.maxsize)

    def is_fault(number: int, num_sequences: int) -> bool:
        return (
            ("every" in numbers and number % numbers["every"] == 0)
            or num_sequences > numbers.get("above", sys.maxsize)
            or (first > 0 and first <= number <= last)
        )

    return is_fault


def _serve() -> int:
    from app.engine import thread

    faults = schedule(os.environ.get("FAULTS", ""))

    def make_runner(model: FamilyModel, *names: Any) -> ModelRunner:
        return FaultyRunner(model, faults)

    setattr(thread, "ModelRunner", make_runner)  # noqa: B010 - to a type checker a class is no place for a function
    from main import main

    return main()


if __name__ == "__main__":
    sys.exit(_serve())
