"""The one owner of a model and its device: sequences in, logits of the wanted rows out."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from app.engine.decoding.sampling import log_probabilities, log_probabilities_of, probabilities_of, row_sums
from app.engine.decoding.step import Prediction
from app.engine.device.devices import first_line, has_float64, is_out_of_memory
from app.engine.interface.config import RuntimeName
from app.engine.interface.errors import EngineError, OutOfDeviceMemory
from app.engine.models.base import FamilyModel
from app.engine.passes import graphs, reading
from app.engine.passes.divergence import LastDistributions
from app.engine.passes.footprint import Footprint
from app.engine.passes.graph_forward import GraphForward
from app.engine.passes.module_forward import Forward, ModuleForward
from app.engine.passes.work import SequenceInput, Work

log = logging.getLogger(__name__)


class ModelRunner:
    """Runs forward passes, reads their logits, and caches what they leave for the next. Belongs to one thread, the
    engine's: no method may be called while another one runs.

    Args:
        device_name: what the device is called, where that is not its own name.
        cpu_runtime: see `EngineConfig`.

    Raises:
        EngineError: the model was to run as graphs, and cannot.
    """

    def __init__(self, model: FamilyModel, device_name: str | None = None, cpu_runtime: RuntimeName = "auto") -> None:
        self.model = model.eval()
        self.device = next(model.parameters()).device
        self.device_name = device_name or str(self.device)
        self.dtype = next(model.parameters()).dtype
        self._cpu_runtime = cpu_runtime
        self._forward = self._chosen_forward()
        self._last = LastDistributions()

    def _chosen_forward(self) -> Forward:
        if self.device.type != "cpu" or self._cpu_runtime == "torch":
            return ModuleForward(self.model)
        if not graphs.can_run(self.model):
            if self._cpu_runtime == "onnx":
                raise EngineError(f"cpu_runtime=onnx: {graphs.REQUIREMENTS}; use auto or torch")
            return ModuleForward(self.model)
        try:
            return GraphForward(self.model)
        except Exception as error:  # each library has error types of its own
            return self._forward_instead(error)

    def _forward_instead(self, error: Exception) -> Forward:
        """Modules, unless graphs are demanded: they are slower, and always there."""
        why = f"ONNX Runtime failed: {first_line(error)}"
        if self._cpu_runtime == "onnx":
            raise EngineError(f"cpu_runtime=onnx: {why}; use auto or torch") from error
        log.warning("%s; the %s model runs by PyTorch from here on", why, self.model.config.family)
        return ModuleForward(self.model)

    @property
    def is_graphed(self) -> bool:
        """Whether it runs as ONNX Runtime graphs."""
        return isinstance(self._forward, GraphForward)

    @property
    def footprint(self) -> Footprint:
        """The memory that it takes beside the weights."""
        return Footprint(self.model.config, self.dtype, self.is_graphed)

    @property
    def memory_bytes(self) -> int:
        """Bytes of the weights, and of the copies of them that graphs hold."""
        weights = (*self.model.parameters(), *self.model.buffers())
        num_copies = 1 + (self._forward.num_graphs if isinstance(self._forward, GraphForward) else 0)
        return sum(weight.numel() * weight.element_size() for weight in weights) * num_copies

    @torch.inference_mode()
    def run(self, works: Sequence[Work]) -> list[Prediction]:
        """One forward pass for all requests together; one copy from the device to the host.

        Raises:
            OutOfDeviceMemory: the pass did not fit.
        """
        try:
            logits = self.logits([sequence for work in works for sequence in work.sequences])
            if not has_float64(self.device):  # tokens are drawn, and their probabilities reported, in double precision
                logits = logits.cpu()
            parts = torch.split(logits, [work.num_rows for work in works])
            guided = [reading.guided(work, part) for work, part in zip(works, parts, strict=True)]
            wanted = [rows[: len(rows) - len(work.revisable_ids)] for work, rows in zip(works, guided, strict=True)]
            adjusted = [work.adjustment.apply(rows) for work, rows in zip(works, wanted, strict=True)]
            predictions = reading.read(works, adjusted, parts, row_sums(logits))
            complete = [self._with_more(*each) for each in zip(works, guided, predictions, strict=True)]
            self._last.step_is_done()
            return complete
        except Exception as error:  # what a library raises where memory is short has no common type
            if not is_out_of_memory(error):
                raise
            message = f"a step of {len(works)} requests did not fit {self.device_name}: {error}"
            raise OutOfDeviceMemory(message) from error
        finally:
            self._last.step_is_over()

    def logits(self, sequences: Sequence[SequenceInput]) -> Tensor:
        """Raw logits [R, V] of all wanted positions, sequence by sequence, aligned with what they predict.

        Raises:
            EngineError: the graphs that were demanded do not run.
        """
        try:
            return self._forward.logits(sequences)
        except graphs.GraphError as error:
            self._leave_graphs(error)
            return self._forward.logits(sequences)

    def _leave_graphs(self, error: Exception) -> None:
        """Goes on by modules, and takes along what is cached: the pass that failed has changed nothing of it."""
        graphed, self._forward = self._forward, self._forward_instead(error)
        for name in graphed.cached_names():
            cached = graphed.cached(name)
            if cached is not None:
                self._forward.adopt(name, cached)

    @torch.inference_mode()
    def hand_over(self, names: Collection[str], other: ModelRunner) -> None:
        """Moves what is cached under these names to a runner of the same model on another device: the requests go on
        there as they would have gone on here, and nothing of them stays.

        Raises:
            OutOfDeviceMemory: it does not fit there; all of it is still here.
        """
        try:
            for name in names:
                self._last.copy_to(name, other._last, other.device)
                cached = self._forward.cached(name)
                if cached is not None:
                    other._forward.adopt(name, cached)
        except Exception as error:
            for name in names:
                other.forget(name)
            if not is_out_of_memory(error):
                raise
            raise OutOfDeviceMemory(f"what is kept of a request does not fit {other.device_name}: {error}") from None
        for name in names:
            self.forget(name)

    def forget(self, name: str) -> None:
        """Drops what is cached under `name`, if anything is."""
        self._forward.forget(name)
        self._last.forget(name)

    def cached_names(self) -> set[str]:
        """Names under which anything is cached between two passes, of requests that run or did until a moment ago.

        Raises:
            AssertionError: what is cached contradicts itself, which no fault may bring about.
        """
        return self._forward.cached_names() | self._last.names

    def _with_more(self, work: Work, logits: Tensor, prediction: Prediction) -> Prediction:
        """The prediction with what only some requests ask for, read from the model's own logits."""
        if prediction.num_broken or prediction.failure:
            return prediction
        num_revisable = len(work.revisable_ids)
        wanted, revisable = torch.split(logits, [len(logits) - num_revisable, num_revisable])
        more: dict[str, Any] = {}
        if work.num_logprobs is not None:
            more["logprobs"] = log_probabilities(wanted, prediction.token_ids, work.num_logprobs)
        if work.scored_ids:
            more["scored"] = log_probabilities_of(wanted, work.scored_ids)
        if work.divergences_name is not None:
            more["divergences"] = self._last.divergences(work.divergences_name, work.sequences[0].wanted, wanted)
        if work.revisable_ids:
            more["support"] = probabilities_of(revisable, work.revisable_ids)
        return replace(prediction, **more) if more else prediction
