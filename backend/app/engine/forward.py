"""A forward pass of many sequences: raw logits where they are wanted, and what is kept of one pass for the next."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from app.engine.batch import pack
from app.engine.devices import row_quantum
from app.engine.models.attention import Doubted, Extra, Kept, KeyValues
from app.engine.models.base import FamilyModel
from app.engine.work import SequenceInput


class Forward(Protocol):
    """One way to compute a model. What it keeps lies under the names of windows until it is told to forget them."""

    def logits(self, sequences: Sequence[SequenceInput]) -> Tensor:
        """Raw logits [R, V] of all wanted positions, sequence by sequence, aligned with what they predict."""
        ...

    def forget(self, name: str) -> None:
        """Drops what is kept under `name`, if anything is."""
        ...


class ModuleForward:
    """Runs the model's own modules, on any device. Sequences lie end to end in one pass (`batch.py`)."""

    def __init__(self, model: FamilyModel) -> None:
        self._model = model
        self._device = next(model.parameters()).device
        self._stores: dict[str, KeyValues] = {}

    def keeps(self, name: str) -> bool:
        return name in self._stores

    def logits(self, sequences: Sequence[SequenceInput]) -> Tensor:
        """See `Forward.logits`."""
        config, special = self._model.config, self._model.config.special
        sequences = [whole_unless(sequence, self._stores) for sequence in sequences]
        quantum = row_quantum(self._device)
        batch = pack(sequences, config.prediction_shift, special.pad, special.mask, quantum)
        extras = [self._extra(sequence) for sequence in sequences]
        ids, positions, rows = map(self._indices, (batch.ids, batch.positions, batch.rows))
        logits = self._model.head(self._model.hidden(ids, positions, batch.lengths, rows, extras))
        for sequence, extra in zip(sequences, extras, strict=True):
            if sequence.window is not None and isinstance(extra, Kept):
                self._stores[sequence.window.name] = extra.store
        return logits[: batch.num_rows]

    def forget(self, name: str) -> None:
        """See `Forward.forget`."""
        self._stores.pop(name, None)

    def _extra(self, sequence: SequenceInput) -> Extra | None:
        if sequence.window is None:
            return Doubted(sequence.doubted) if sequence.doubted else None
        if sequence.window.span is None:
            return Kept(KeyValues(), fills=True)
        start, end = sequence.window.span
        return Kept(self._stores[sequence.window.name], start, len(sequence.ids) - end)

    def _indices(self, values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=self._device)


def whole_unless(sequence: SequenceInput, kept: Container[str]) -> SequenceInput:
    """The whole sequence where nothing is kept of it: it has come from another device, say."""
    window = sequence.window
    if window is None or window.span is None or window.name in kept:
        return sequence
    return replace(sequence, window=replace(window, span=None))
