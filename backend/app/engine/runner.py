"""The one owner of a model and its device: sequences in, logits of the wanted rows out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from app.engine.batch import pack
from app.engine.decoding.guidance import guide
from app.engine.decoding.policy import Prediction
from app.engine.decoding.rules import LogitRules
from app.engine.decoding.sampling import penalise_repetition, predict
from app.engine.devices import is_out_of_memory, row_quantum
from app.engine.errors import OutOfDeviceMemory
from app.engine.models.attention import Kept, KeyValues
from app.engine.models.base import FamilyModel
from app.engine.work import SequenceInput, Work

# float32 logits, their filtered copy and probabilities, and the float64 distribution that tokens are drawn from.
_BYTES_PER_LOGIT = 4 * 3 + 8 * 2


class ModelRunner:
    """Runs forward passes and reads their logits. One thread only.

    Args:
        device_name: what the device is called, where not by its own name.
    """

    def __init__(self, model: FamilyModel, device_name: str | None = None) -> None:
        self.model = model.eval()
        self.device = next(model.parameters()).device
        self.device_name = device_name or str(self.device)
        self.dtype = next(model.parameters()).dtype
        self._quantum = row_quantum(self.device)
        self._stores: dict[str, KeyValues] = {}

    @property
    def bytes_per_row(self) -> int:
        """Memory that one row of logits needs while it is decoded."""
        return self.model.config.vocab_size * _BYTES_PER_LOGIT

    @property
    def memory_bytes(self) -> int:
        """Bytes of the weights."""
        return sum(weight.numel() * weight.element_size() for weight in self.model.parameters())

    def bytes_of_pass(self, num_tokens: int, num_rows: int) -> int:
        """What a forward pass of so many tokens and rows of logits takes beside the weights, estimated from above."""
        config = self.model.config
        # The residual stream and its normalised copy, float32 copies of queries and keys, and the gate, up and product.
        values_per_token = 4 * config.width + 3 * config.width * 2 + 3 * config.mlp_width
        return num_tokens * values_per_token * max(self.dtype.itemsize, 4) + num_rows * self.bytes_per_row

    def bytes_kept(self, num_tokens: int) -> int:
        """Keys and values of so many tokens."""
        config = self.model.config
        return num_tokens * 2 * config.num_layers * config.num_kv_heads * config.head_dim * self.dtype.itemsize

    @torch.inference_mode()
    def run(self, works: Sequence[Work]) -> list[Prediction]:
        """One forward pass for all requests together; one copy from the device to the host.

        Raises:
            OutOfDeviceMemory: the pass did not fit.
        """
        try:
            logits = self.logits([sequence for work in works for sequence in work.sequences])
            parts = torch.split(logits, [work.num_rows for work in works])
            return _read(works, [_prepare(work, part) for work, part in zip(works, parts, strict=True)])
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            message = f"a step of {len(works)} requests did not fit {self.device_name}: {error}"
            raise OutOfDeviceMemory(message) from error

    def logits(self, sequences: Sequence[SequenceInput]) -> Tensor:
        """Raw logits [R, V] of all wanted positions, sequence by sequence, aligned with what they predict."""
        config = self.model.config
        sequences = [self._with_usable_window(sequence) for sequence in sequences]
        batch = pack(sequences, config.prediction_shift, config.special.pad, self._quantum)
        kept = [self._kept(sequence) for sequence in sequences]
        ids, positions, rows = map(self._indices, (batch.ids, batch.positions, batch.rows))
        logits = self.model.head(self.model.hidden(ids, positions, batch.lengths, rows, kept))[: batch.num_rows]
        for sequence, part in zip(sequences, kept, strict=True):
            if sequence.window is not None and part is not None:
                self._stores[sequence.window.name] = part.store
        return logits

    def forget(self, name: str) -> None:
        """Drops what is kept under `name`, if anything is."""
        self._stores.pop(name, None)

    def _with_usable_window(self, sequence: SequenceInput) -> SequenceInput:
        """The whole sequence where nothing is kept of it: it has come from another device."""
        window = sequence.window
        if window is None or window.span is None or window.name in self._stores:
            return sequence
        return replace(sequence, window=replace(window, span=None))

    def _kept(self, sequence: SequenceInput) -> Kept | None:
        if sequence.window is None:
            return None
        if sequence.window.span is None:
            return Kept(KeyValues(), fills=True)
        start, end = sequence.window.span
        return Kept(self._stores[sequence.window.name], start, len(sequence.ids) - end)

    def _indices(self, values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=self.device)


def _prepare(work: Work, logits: Tensor) -> Tensor:
    """Guidance and repetition penalty: what needs more than one row, or belongs to one request alone."""
    if work.guidance_scale > 0:
        conditional, unconditional = logits.chunk(2)
        logits = guide(conditional, unconditional, work.guidance_scale)
    if work.repetition_penalty != 1.0 and work.penalised_ids:
        logits = logits.float().clone()
        penalise_repetition(logits, work.penalised_ids, work.repetition_penalty)
    return logits


def _read(works: Sequence[Work], logits: Sequence[Tensor]) -> list[Prediction]:
    """Requests that follow the same rules are read in one go."""
    groups: dict[LogitRules, list[int]] = {}
    for index, work in enumerate(works):
        groups.setdefault(work.rules, []).append(index)
    predicted = []
    for members in groups.values():
        rows = torch.cat([logits[index] for index in members])
        draws = [u for index in members for u in works[index].uniforms]
        uniforms = torch.tensor(draws, dtype=torch.float64, device=rows.device) if draws else None
        predicted.append(predict(rows, works[members[0]].rules, uniforms))
    token_ids, scores, confidences = torch.cat(predicted, dim=1).tolist()
    predictions: dict[int, Prediction] = {}
    start = 0
    for index in [index for members in groups.values() for index in members]:
        span = slice(start, start + len(logits[index]))
        predictions[index] = Prediction([int(i) for i in token_ids[span]], scores[span], confidences[span])
        start = span.stop
    return [predictions[index] for index in range(len(works))]
