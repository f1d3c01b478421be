"""The memory that a checkpoint takes: its weights, and what a pass over its requests needs beside them.

The parts are those that the engine itself reckons with: weights as `load_model` places them, requests as admission
counts them (`request/cost.py`), passes as the runner estimates them (`passes/footprint.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch

from app.engine.device.devices import choose_dtype
from app.engine.device.memory import Need
from app.engine.families.build import build_model
from app.engine.families.registry import family_named, read_config
from app.engine.families.weight_sizes import WeightSizes, stored_types, weight_sizes
from app.engine.interface.config import Demand, EngineConfig, QuantizationName
from app.engine.interface.params import DecodingParams, GenerationRequest
from app.engine.models.base import ModelConfig
from app.engine.models.quantisation import num_weights
from app.engine.passes.footprint import Footprint
from app.engine.passes.graphs import may_run
from app.engine.request.context import ContextWindow, fit_window
from app.engine.request.state import RequestState

CUDA = torch.device("cuda")

GRAPHS = 2
"""The graphs of a model that runs as graphs, each with a copy of the weights. The second is built when it is first
needed, and must find room then."""


@dataclass(frozen=True, slots=True)
class PassBytes:
    """Bytes of a step of some requests."""

    cache: int
    """Keys and values that are kept for the next steps."""
    logits: int
    states: int
    """The states of a layer, while it is computed."""

    @property
    def all(self) -> int:
        return self.cache + self.logits + self.states


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """Bytes that a model takes on one device."""

    dtype: torch.dtype
    quantization: QuantizationName
    weights: WeightSizes
    one: PassBytes
    """A single request."""
    batch: PassBytes
    """The requests that are answered together."""
    num_together: int

    @property
    def least(self) -> int:
        """Bytes that must be free: without them the weights cannot be loaded, or no request can be answered. Weights
        that are mapped are no part of it, for pages of files make way."""
        return self.weights.held + max(self.weights.loading, self.one.all)

    @property
    def full(self) -> int:
        """Bytes that are in use while a full batch is answered."""
        return self.weights.all + self.batch.all


class Estimate:
    """Gives what a checkpoint takes on any device, and in any type.

    Args:
        stored: the type of each stored tensor, by name.

    Raises:
        CheckpointError: see `build_model`.
    """

    def __init__(
        self,
        name: str,
        raw_config: Mapping[str, Any],
        config: EngineConfig,
        demand: Demand,
        stored: Mapping[str, torch.dtype] | None = None,
    ) -> None:
        with torch.device("meta"):
            self._model = build_model(raw_config)
        self.name = name
        self.config = config
        self.demand = demand
        self._stored = stored or {}

    @classmethod
    def of(cls, folder: Path, config: EngineConfig, demand: Demand) -> Self:
        """The estimate of a checkpoint folder; reads its config and the headers of its weights.

        Raises:
            CheckpointError: a file is missing or damaged, or the config is none that a network is built of.
        """
        return cls(folder.name, read_config(folder), config, demand, stored_types(folder))

    def changed(self, **changes: Any) -> Estimate:
        """The estimate for the same checkpoint with some fields of the engine's configuration changed."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__, config=replace(self.config, **changes))
        return other

    def need(self, device: torch.device, free_bytes: int | None = None) -> MemoryNeed:
        """Gives what it takes on a device, of which so many bytes are free before it is loaded, if that is known."""
        dtype = choose_dtype(self.config.dtype, device, self.num_weights)
        weights = weight_sizes(self._model, device, dtype, self.quantization, self._stored)
        is_graphed = self._is_graphed(device, dtype, weights.all)
        if is_graphed:
            weights = replace(weights, held=weights.held + GRAPHS * weights.all)
        footprint, request = Footprint(self._model.config, dtype, is_graphed), self._request()
        num_together = self._num_together(footprint, request, _logits_budget(self.config, device, weights, free_bytes))
        one, batch = (_bytes_of(footprint, request, number) for number in (1, num_together))
        return MemoryNeed(dtype, self.quantization, weights, one, batch, num_together)

    @property
    def quantization(self) -> QuantizationName:
        """The form of the weights; none, where `auto` has not been decided (`choice.py`)."""
        return "none" if self.config.quantization == "auto" else self.config.quantization

    @property
    def num_weights(self) -> int:
        return num_weights(self._model)

    @property
    def window(self) -> ContextWindow:
        """The text and the new tokens of one request, as far as the context goes."""
        demand = self.demand
        return fit_window((0,) * demand.num_given, (), demand.num_new, self._model.config.context_length)

    @property
    def model_config(self) -> ModelConfig:
        return self._model.config

    @property
    def least_on_cuda(self) -> int:
        """Bytes that must be free on a CUDA device, whichever it is."""
        return self.need(CUDA).least

    def _is_graphed(self, device: torch.device, dtype: torch.dtype, weight_bytes: int) -> bool:
        is_possible = device.type == "cpu" and dtype is torch.float32 and self.quantization != "nf4"
        return is_possible and self.config.cpu_runtime != "torch" and may_run(weight_bytes)

    def _request(self) -> Need:
        """Gives what one request needs, in the words of admission."""
        config, window = self._model.config, self.window
        params = DecodingParams(window.capacity, cache=_cache_of(config, self.demand))
        request = GenerationRequest("", window.prefix, (), params, checked_for=config)
        return RequestState(request, config, lambda event: None).need

    def _num_together(self, footprint: Footprint, request: Need, logits_budget: int) -> int:
        """Requests that admission lets into one batch; one is never too many."""
        by_logits = logits_budget // max(request.num_rows * footprint.bytes_per_row, 1)
        by_tokens = self.config.max_batch_tokens // max(request.num_tokens, 1)
        return max(1, min(self.demand.num_requests, self.config.max_running, by_logits, by_tokens))


def _cache_of(config: ModelConfig, demand: Demand) -> str:
    """The cache that a request asks for: the one that caches most, or the default."""
    caches = family_named(config.family).caches
    return caches[-1] if demand.is_cached else caches[0]


def _logits_budget(config: EngineConfig, device: torch.device, weights: WeightSizes, free_bytes: int | None) -> int:
    """See `memory.logits_budget`, which is asked when the weights are there."""
    if device.type != "cuda" or free_bytes is None:
        return config.max_logits_bytes
    return max(config.max_logits_bytes, (free_bytes - weights.held) // 4)


def _bytes_of(footprint: Footprint, request: Need, number: int) -> PassBytes:
    return PassBytes(
        cache=footprint.cached(number * request.max_cached, number * request.max_distributions),
        logits=number * request.num_rows * footprint.bytes_per_row,
        states=footprint.of_states(number * request.num_tokens),
    )
