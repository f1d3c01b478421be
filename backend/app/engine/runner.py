"""The one owner of a model and its device: sequences in, logits of the wanted rows out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from app.engine.config import RuntimeName
from app.engine.decoding.guidance import guide
from app.engine.decoding.policy import Prediction
from app.engine.decoding.rules import LogitRules
from app.engine.decoding.sampling import log_probabilities, penalise_repetition, predict, probabilities_of
from app.engine.devices import has_float64, is_out_of_memory
from app.engine.divergence import LastDistributions
from app.engine.errors import OutOfDeviceMemory
from app.engine.forward import Forward, ModuleForward
from app.engine.graph_forward import MAX_SCORE_BYTES, GraphForward
from app.engine.models import graphs
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
        self._forward: Forward = GraphForward(model) if self._is_graphed else ModuleForward(model)
        self._last = LastDistributions()

    @property
    def bytes_per_row(self) -> int:
        """Memory that one row of logits needs while it is decoded."""
        return self.model.config.vocab_size * _BYTES_PER_LOGIT

    @property
    def memory_bytes(self) -> int:
        """Bytes of the weights, and of the copies of them that the two graphs hold."""
        weights = (*self.model.parameters(), *self.model.buffers())
        return sum(weight.numel() * weight.element_size() for weight in weights) * (3 if self._is_graphed else 1)

    def bytes_of_pass(self, num_tokens: int, num_rows: int) -> int:
        """What a forward pass of so many tokens and rows of logits takes beside the weights, estimated from above."""
        config = self.model.config
        # The residual stream and its normalised copy, float32 copies of queries and keys, and the gate, up and product.
        values_per_token = 4 * config.width + 3 * config.width * 2 + 3 * config.mlp_width
        num_bytes = num_tokens * values_per_token * max(self.dtype.itemsize, 4) + num_rows * self.bytes_per_row
        if self._is_graphed:  # scores and their mask; modules never hold them all
            num_bytes += min(4 * (config.num_heads + 1) * num_tokens**2, 2 * MAX_SCORE_BYTES)
        return num_bytes

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
            if not has_float64(self.device):  # tokens are drawn, and their probabilities told, in double precision
                logits = logits.cpu()
            parts = torch.split(logits, [work.num_rows for work in works])
            guided = [_guided(work, part) for work, part in zip(works, parts, strict=True)]
            wanted = [rows[: len(rows) - len(work.doubted_ids)] for work, rows in zip(works, guided, strict=True)]
            predictions = _read(works, [_penalised(work, rows) for work, rows in zip(works, wanted, strict=True)])
            told = [self._with_more(*each) for each in zip(works, guided, predictions, strict=True)]
            self._last.step_is_done()
            return told
        except Exception as error:  # what a library raises where memory is short has no common type
            if not is_out_of_memory(error):
                raise
            message = f"a step of {len(works)} requests did not fit {self.device_name}: {error}"
            raise OutOfDeviceMemory(message) from error
        finally:
            self._last.step_is_over()

    def logits(self, sequences: Sequence[SequenceInput]) -> Tensor:
        """Raw logits [R, V] of all wanted positions, sequence by sequence, aligned with what they predict."""
        return self._forward.logits(sequences)

    def forget(self, name: str) -> None:
        """Drops what is kept under `name`, if anything is."""
        self._forward.forget(name)
        self._last.forget(name)

    def kept_names(self) -> set[str]:
        """Names under which anything is kept between two passes, of requests that run or did until a moment ago.

        Raises:
            AssertionError: what is kept contradicts itself, which no fault may bring about.
        """
        return self._forward.kept_names() | self._last.names

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
        rows = torch.cat([logits[index] for index in members]) if len(works) > 1 else logits[0]
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
