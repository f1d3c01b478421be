"""The one owner of a model and its device: sequences in, logits of the wanted rows out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from app.engine.batch import pack
from app.engine.config import RuntimeName
from app.engine.decoding.guidance import guide
from app.engine.decoding.policy import Prediction
from app.engine.decoding.rules import LogitRules
from app.engine.decoding.sampling import log_probabilities, penalise_repetition, predict, probabilities_of
from app.engine.devices import is_out_of_memory, row_quantum
from app.engine.divergence import LastDistributions
from app.engine.errors import OutOfDeviceMemory
from app.engine.models import graphs
from app.engine.models.attention import Doubted, Extra, Kept, KeyValues
from app.engine.models.base import FamilyModel
from app.engine.work import SequenceInput, Work

# float32 logits, their filtered copy and probabilities, and the float64 distribution that tokens are drawn from.
_BYTES_PER_LOGIT = 4 * 3 + 8 * 2


class ModelRunner:
    """Runs forward passes and reads their logits. One thread only.

    Args:
        device_name: what the device is called, where not by its own name.
        cpu_runtime: see `EngineConfig`.
    """

    def __init__(self, model: FamilyModel, device_name: str | None = None, cpu_runtime: RuntimeName = "auto") -> None:
        self.model = model.eval()
        self.device = next(model.parameters()).device
        self.device_name = device_name or str(self.device)
        self.dtype = next(model.parameters()).dtype
        self._is_graphed = cpu_runtime == "auto" and graphs.can_run(model)
        self._forward = graphs.GraphedModel(model) if self._is_graphed else model
        self._quantum = graphs.ROW_QUANTUM if self._is_graphed else row_quantum(self.device)
        self._stores: dict[str, KeyValues] = {}
        self._last = LastDistributions()

    @property
    def bytes_per_row(self) -> int:
        """Memory that one row of logits needs while it is decoded."""
        return self.model.config.vocab_size * _BYTES_PER_LOGIT

    @property
    def memory_bytes(self) -> int:
        """Bytes of the weights, and of the graphs' copy of them."""
        weights = (*self.model.parameters(), *self.model.buffers())
        return sum(weight.numel() * weight.element_size() for weight in weights) * (2 if self._is_graphed else 1)

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
            guided = [_guided(work, part) for work, part in zip(works, parts, strict=True)]
            wanted = [rows[: len(rows) - len(work.doubted_ids)] for work, rows in zip(works, guided, strict=True)]
            predictions = _read(works, [_penalised(work, rows) for work, rows in zip(works, wanted, strict=True)])
            told = [self._with_more(*each) for each in zip(works, guided, predictions, strict=True)]
            self._last.step_is_done()
            return told
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            message = f"a step of {len(works)} requests did not fit {self.device_name}: {error}"
            raise OutOfDeviceMemory(message) from error

    def logits(self, sequences: Sequence[SequenceInput]) -> Tensor:
        """Raw logits [R, V] of all wanted positions, sequence by sequence, aligned with what they predict."""
        config = self.model.config
        sequences = [self._with_usable_window(sequence) for sequence in sequences]
        special = config.special
        batch = pack(sequences, config.prediction_shift, special.pad, special.mask, self._quantum)
        extras = [self._extra(sequence) for sequence in sequences]
        ids, positions, rows = map(self._indices, (batch.ids, batch.positions, batch.rows))
        logits = self._forward.head(self._forward.hidden(ids, positions, batch.lengths, rows, extras))[: batch.num_rows]
        for sequence, extra in zip(sequences, extras, strict=True):
            if sequence.window is not None and isinstance(extra, Kept):
                self._stores[sequence.window.name] = extra.store
        return logits

    def forget(self, name: str) -> None:
        """Drops what is kept under `name`, if anything is."""
        self._stores.pop(name, None)
        self._last.forget(name)

    def _with_usable_window(self, sequence: SequenceInput) -> SequenceInput:
        """The whole sequence where nothing is kept of it: it has come from another device."""
        window = sequence.window
        if window is None or window.span is None or window.name in self._stores:
            return sequence
        return replace(sequence, window=replace(window, span=None))

    def _extra(self, sequence: SequenceInput) -> Extra | None:
        if sequence.window is None:
            return Doubted(sequence.doubted) if sequence.doubted else None
        if sequence.window.span is None:
            return Kept(KeyValues(), fills=True)
        start, end = sequence.window.span
        return Kept(self._stores[sequence.window.name], start, len(sequence.ids) - end)

    def _with_more(self, work: Work, logits: Tensor, prediction: Prediction) -> Prediction:
        """What only some requests ask for, from the model's own logits."""
        num_doubted = len(work.doubted_ids)
        wanted, doubted = torch.split(logits, [len(logits) - num_doubted, num_doubted])
        more: dict[str, Any] = {}
        if work.num_logprobs is not None:
            more["logprobs"] = log_probabilities(wanted, prediction.token_ids, work.num_logprobs)
        if work.watched is not None:
            more["divergences"] = self._last.divergences(work.watched, work.sequences[0].wanted, wanted)
        if work.doubted_ids:
            more["support"] = probabilities_of(doubted, work.doubted_ids)
        return replace(prediction, **more) if more else prediction

    def _indices(self, values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=self.device)


def _guided(work: Work, logits: Tensor) -> Tensor:
    """One row per wanted position."""
    if work.guidance_scale == 0:
        return logits
    conditional, unconditional = logits.chunk(2)
    return guide(conditional, unconditional, work.guidance_scale)


def _penalised(work: Work, logits: Tensor) -> Tensor:
    if work.repetition_penalty == 1.0 or not work.penalised_ids:
        return logits
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
