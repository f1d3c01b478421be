"""A forward pass of many sequences: raw logits where they are wanted, and what is kept of one pass for the next."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from app.engine.device.devices import row_quantum
from app.engine.models.attention import Extra, Kept, KeyValues, Revisable
from app.engine.models.base import FamilyModel
from app.engine.passes.batch import pack
from app.engine.passes.work import SequenceInput


class Forward(Protocol):
    """One way to compute a model. What it keeps lies under the names of windows until it is told to forget them.

    A pass that fails, wherever that is, can be run again and gives what it would have given: what is kept of each
    sequence is then what was kept before, but for the window that the pass computes, or nothing.
    """

    def logits(self, sequences: Sequence[SequenceInput]) -> Tensor:
        """Raw logits [R, V] of all wanted positions, sequence by sequence, aligned with what they predict."""
        ...

    def forget(self, name: str) -> None:
        """Drops what is kept under `name`, if anything is."""
        ...

    def kept(self, name: str) -> KeyValues | None:
        """What is kept under `name`, for another way to compute the same model."""
        ...

    def keep(self, name: str, kept: KeyValues) -> None:
        """Keeps a copy of what was kept elsewhere, as if the passes before had been here."""
        ...

    def kept_names(self) -> set[str]:
        """Names under which anything is kept.

        Raises:
            AssertionError: what is kept contradicts itself.
        """
        ...


class ModuleForward:
    """Runs the model's own modules, on any device. Sequences lie end to end in one pass (`batch.py`)."""

    def __init__(self, model: FamilyModel) -> None:
        self._model = model
        self._device = next(model.parameters()).device
        self._stores: dict[str, KeyValues] = {}
        self._unfinished: dict[
            str, tuple[int, int]
        ] = {}  # windows that a pass began to write, and did not come to an end

    def keeps(self, name: str) -> bool:
        return name in self._stores

    def logits(self, sequences: Sequence[SequenceInput]) -> Tensor:
        """See `Forward.logits`."""
        config, special = self._model.config, self._model.config.special
        for name, span in windows_of(sequences):
            # The same window overwrites all that a failed pass has left of it; for any other one that is no past.
            if span is None or self._unfinished.get(name, span) != span:
                self.forget(name)
        sequences = [whole_unless(sequence, self._stores) for sequence in sequences]
        self._unfinished |= {name: span for name, span in windows_of(sequences) if span is not None}
        quantum = row_quantum(self._device)
        batch = pack(sequences, config.prediction_shift, special.pad, special.mask, quantum)
        extras = [self._extra(sequence) for sequence in sequences]
        ids, positions, rows = map(self._indices, (batch.ids, batch.positions, batch.rows))
        logits = self._model.head(self._model.hidden(ids, positions, batch.lengths, rows, extras))
        for sequence, extra in zip(sequences, extras, strict=True):
            if sequence.window is not None and isinstance(extra, Kept):
                self._stores[sequence.window.name] = extra.store
                self._unfinished.pop(sequence.window.name, None)
        return logits[: batch.num_rows]

    def forget(self, name: str) -> None:
        """See `Forward.forget`."""
        self._stores.pop(name, None)
        self._unfinished.pop(name, None)

    def kept(self, name: str) -> KeyValues | None:
        """See `Forward.kept`."""
        return self._stores.get(name)

    def keep(self, name: str, kept: KeyValues) -> None:
        """See `Forward.keep`."""
        self._stores[name] = kept.copied(self._device, next(self._model.parameters()).dtype)

    def kept_names(self) -> set[str]:
        """See `Forward.kept_names`."""
        assert self._unfinished.keys() <= self._stores.keys(), "a window is being written of which nothing is kept"
        for name, store in self._stores.items():
            store.check(name, len(self._model.stack().layers))
        return {*self._stores}

    def _extra(self, sequence: SequenceInput) -> Extra | None:
        if sequence.window is None:
            return Revisable(sequence.revisable) if sequence.revisable else None
        if sequence.window.span is None:
            return Kept(KeyValues(), fills=True)
        start, end = sequence.window.span
        return Kept(self._stores[sequence.window.name], start, len(sequence.ids) - end)

    def _indices(self, values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=self._device)


def windows_of(sequences: Sequence[SequenceInput]) -> Iterator[tuple[str, tuple[int, int] | None]]:
    """Name and span of every window."""
    return ((sequence.window.name, sequence.window.span) for sequence in sequences if sequence.window is not None)


def whole_unless(sequence: SequenceInput, kept: Container[str]) -> SequenceInput:
    """The whole sequence where nothing is kept of it: it has come from another device, say."""
    window = sequence.window
    if window is None or window.span is None or window.name in kept:
        return sequence
    return replace(sequence, window=replace(window, span=None))
