"""A forward pass of many sequences: raw logits where they are wanted, and what is cached by one pass for the next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from app.engine.cache.growing import GrowingKeyValues
from app.engine.cache.store import KeyValues
from app.engine.device.devices import row_quantum
from app.engine.models.adapters import AdaptedModel
from app.engine.models.attention import AttentionVariant, BlockCausal, FillsCache, ReadsCache, Revisable
from app.engine.models.base import FamilyModel
from app.engine.passes.batch import adapted_rows, pack
from app.engine.passes.work import SequenceInput

Cached = KeyValues | GrowingKeyValues
"""The keys and values of one sequence."""


class Forward(Protocol):
    """One way to compute a model. Keys and values stay cached under the names of their sequences until they are
    forgotten. Belongs to one thread, the engine's: no method may be called while another one runs.

    A pass that fails, wherever that is, can be run again and gives what it would have given: what is cached of each
    sequence is then as it was before, but for the span that the pass computes; or the sequence is not cached at all,
    and its next pass computes the whole of it.
    """

    def logits(self, sequences: Sequence[SequenceInput]) -> Tensor:
        """Gives raw logits [R, V] of all wanted positions, sequence by sequence, aligned with what they predict, and
        caches what the spans say. Only the engine's thread may call it: it writes to what is cached."""
        ...

    def forget(self, name: str) -> None:
        """Drops what is cached under `name`, if anything is."""
        ...

    def cached(self, name: str) -> Cached | None:
        """Gives what is cached under `name`, for another way to compute the same model."""
        ...

    def adopt(self, name: str, cached: Cached) -> None:
        """Caches a copy of what was cached elsewhere, as if the passes before had been here."""
        ...

    def cached_names(self) -> set[str]:
        """Names under which anything is cached.

        Raises:
            AssertionError: what is cached contradicts itself.
        """
        ...


class ModuleForward:
    """Runs the model's own modules, on any device. Sequences lie end to end in one pass (`batch.py`)."""

    def __init__(self, model: FamilyModel) -> None:
        self._model = model
        self._device = next(model.parameters()).device
        self._adapted = AdaptedModel(model)
        self._cached: dict[str, KeyValues] = {}
        self._growing: dict[str, GrowingKeyValues] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._cached or name in self._growing

    def logits(self, sequences: Sequence[SequenceInput]) -> Tensor:
        """See `Forward.logits`."""
        config, special = self._model.config, self._model.config.special
        sequences = [self._readable(sequence) for sequence in sequences]
        batch = pack(sequences, config.prediction_shift, special.pad, special.mask, row_quantum(self._device))
        variants = [self._variant(sequence) for sequence in sequences]
        ids, positions, rows = map(self._indices, (batch.ids, batch.positions, batch.rows))
        adapted = adapted_rows(sequences, batch.lengths)
        with self._adapted.adapted(adapted):
            states = self._model.hidden(ids, positions, batch.lengths, rows, variants)
        logits = self._model.head(states)
        self._adapted.adapt_head(adapted, states, logits)
        for sequence, variant in zip(sequences, variants, strict=True):  # now that nothing can fail
            self._store(sequence, variant)
        return logits[: batch.num_rows]

    def forget(self, name: str) -> None:
        """See `Forward.forget`."""
        self._cached.pop(name, None)
        self._growing.pop(name, None)

    def cached(self, name: str) -> Cached | None:
        """See `Forward.cached`."""
        return self._cached.get(name) or self._growing.get(name)

    def adopt(self, name: str, cached: Cached) -> None:
        """See `Forward.adopt`."""
        dtype = next(self._model.parameters()).dtype
        if isinstance(cached, GrowingKeyValues):
            self._growing[name] = GrowingKeyValues.of(cached.layers(), self._device, dtype)
        else:
            self._cached[name] = cached.copied(self._device, dtype)

    def cached_names(self) -> set[str]:
        """See `Forward.cached_names`."""
        num_layers = len(self._model.stack().layers)
        for name, store in self._cached.items():
            store.check(name, num_layers)
        for name, growing in self._growing.items():
            growing.check(name, num_layers)
        return {*self._cached, *self._growing}

    def _readable(self, sequence: SequenceInput) -> SequenceInput:
        """The whole sequence where not all that its span does not compute can be read: it has come from another device,
        say. What is cached of such a sequence is of no use from here on."""
        name = sequence.cache_name
        if name is None or self._holds(name, sequence):
            return sequence
        self.forget(name)
        return sequence.whole

    def _holds(self, name: str, sequence: SequenceInput) -> bool:
        start, _ = sequence.bounds
        if sequence.span.cached_to is not None:
            return start > 0 and name in self._growing and start <= len(self._growing[name])
        store = self._cached.get(name)
        if store is None or sequence.span.bounds is None:
            return False
        return store.holds(start, sequence.num_behind)

    def _variant(self, sequence: SequenceInput) -> AttentionVariant | None:
        block_length = sequence.block_length or self._model.config.block_length
        if block_length is not None:
            return self._block_causal(sequence, block_length)
        if sequence.cache_name is None:
            return Revisable(sequence.revisable) if sequence.revisable else None
        if sequence.span.bounds is None:
            return FillsCache(KeyValues())
        store, (start, end) = self._cached[sequence.cache_name], sequence.bounds
        store.open(start, end - start, sequence.num_behind, self._model.rotary)
        return ReadsCache(store)

    def _block_causal(self, sequence: SequenceInput, block_length: int) -> BlockCausal:
        (start, end), store = sequence.bounds, None
        if sequence.cache_name is not None and (start > 0 or sequence.span.cached_to):
            store = self._growing.get(sequence.cache_name) or GrowingKeyValues()
            store.open(start, end - start)
        return BlockCausal(start, end - start, block_length, self._device, store)

    def _store(self, sequence: SequenceInput, variant: AttentionVariant | None) -> None:
        if sequence.cache_name is None:
            return
        if isinstance(variant, FillsCache):
            self._cached[sequence.cache_name] = variant.store
        elif isinstance(variant, BlockCausal):
            if variant.store is not None:
                variant.store.close(sequence.span.cached_to or 0)
                self._growing[sequence.cache_name] = variant.store
        elif sequence.span.stores:
            self._cached[sequence.cache_name].close()

    def _indices(self, values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=self._device)
