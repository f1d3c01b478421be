"""The ways out for a step that does not fit its device, and the way back.

    out of memory ── caches freed, once more
                  ── in halves, and in smaller batches for a while
                  ── a request that does not fit alone goes on on the CPU
                  ── after several of these in a row the weights leave the device too
    memory is back ─ and so are the weights

A pass that does not fit has changed no request, so every rung simply runs it again. Each request ends with the tokens
that it would have had anyway, up to the rounding of the other device: what is cached of it goes where it goes.
"""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import nn

from app.engine.decoding.step import Prediction
from app.engine.device.devices import first_line, is_out_of_memory
from app.engine.device.memory import DeviceMemory, Need, device_memory, free_caches
from app.engine.interface.config import EngineConfig, RuntimeName
from app.engine.interface.counters import EngineCounters
from app.engine.interface.errors import OutOfDeviceMemory
from app.engine.models.base import FamilyModel
from app.engine.models.quantisation import placed
from app.engine.passes.runner import ModelRunner
from app.engine.passes.work import Work

CPU = torch.device("cpu")

CLEAN_PASSES = 32
"""Passes without a fault after which a batch that had to shrink may be twice as large."""
MOVES_BEFORE_MODEL = 3
"""Requests that had to leave the device, with no pass on it in between, before the weights leave too."""
RETURN_AFTER_S = 30.0
"""Seconds that the weights stay away at least, and between two looks whether there is room for them again."""

Works = dict[str, Work]
Outcomes = dict[str, Prediction | OutOfDeviceMemory]
"""The prediction for each request's step, or why there is none; by request id."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Home:
    """The device to which weights belong that have moved to the CPU."""

    device: torch.device
    name: str
    dtype: torch.dtype


class Recovery:
    """Runs steps where there is room for them. Belongs to the engine thread.

    Cached keys and values follow their request: until its first step on the CPU they stay on the device, should there
    be room again, and then they move, all of them or none. The weights take along what is cached of all requests. A
    step that is run again reads what the first attempt read, for a pass that fails leaves the cache as it was
    (`passes/module_forward.py`); where nothing is cached, the next pass computes the whole canvas.

    Args:
        runner: the model on its own device. Afterwards `self.runner` is where new requests run.
        memory: gives how full a device is.
        home: where the weights belong, if that is not where they are.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        runner: ModelRunner,
        config: EngineConfig,
        *,
        home: Home | None = None,
        memory: Callable[[str], DeviceMemory | None] = device_memory,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.runner = runner
        self.counters = EngineCounters()
        self._config = config
        self._memory = memory
        self._clock = clock
        self._cpu_runner: ModelRunner | None = None
        self._moved: set[str] = set()
        self._max_works: int | None = None  # in one pass; None: all of them
        self._num_clean = 0
        self._num_moves_in_a_row = 0
        self._home = home
        self._look_at_s = 0.0

    # -- where ------------------------------------------------------------------------------------------------------

    def place(self, request_id: str, need: Need, running: Mapping[str, Need]) -> bool:
        """Decides where a new request begins: on the device, unless that would fill it above the threshold.

        Where it would have room there once those that run are over, it waits; otherwise it begins on the CPU, or waits
        for room there.

        Args:
            running: what the requests need that have begun.

        Returns:
            Whether it begins. If not, it is asked about again when another request has ended.

        Raises:
            OutOfDeviceMemory: nobody runs for whose end it could wait, and there is no room.
        """
        self._bring_home(running)
        if self._is_on_cpu:
            return self._has_room_on_cpu(need, running)
        on_device = [other for name, other in running.items() if name not in self._moved]
        if self._has_room([*on_device, need]):
            return True
        if on_device and self._has_room([need], freed_bytes=self._bytes_held(on_device)):
            return False
        if not self._has_room_on_cpu(need, running):
            return False
        log.warning(
            "%s has no room for request %s, which begins on the CPU",
            self.runner.device_name,
            request_id,
            extra={"request_id": request_id},
        )
        self._move(request_id)
        return True

    def device_of(self, request_id: str) -> str:
        return "cpu" if request_id in self._moved else self.runner.device_name

    def forget(self, request_id: str, cache_names: Sequence[str] = ()) -> None:
        """The request is over. The last one on the CPU takes the copy of the weights with it."""
        self._moved.discard(request_id)
        for runner in filter(None, (self.runner, self._cpu_runner)):
            for name in cache_names:
                runner.forget(name)
        if not self._moved:
            self._cpu_runner = None

    # -- steps ------------------------------------------------------------------------------------------------------

    def run(self, works: Works) -> Outcomes:
        """One step of every request. One that fits nowhere has the error for its outcome; it is unchanged."""
        outcomes = self._on_device({name: work for name, work in works.items() if name not in self._moved})
        return outcomes | self._on_cpu({name: work for name, work in works.items() if name in self._moved})

    def _on_device(self, works: Works) -> Outcomes:
        outcomes: Outcomes = {}
        for part in _parts(works, self._max_works):
            for name, outcome in self._until_it_fits(self.runner, part).items():
                if isinstance(outcome, OutOfDeviceMemory) and not self._is_on_cpu:
                    log.warning("request %s goes on on the CPU: %s", name, outcome, extra={"request_id": name})
                    self._move(name)
                else:
                    outcomes[name] = outcome
        if self._num_moves_in_a_row >= MOVES_BEFORE_MODEL:
            self._move_model()
        return outcomes

    def _on_cpu(self, works: Works) -> Outcomes:
        """One step of each. A request for which there is no room stays on the device, should there be room again; its
        error is a new one, for the traceback of the old one holds the copies that were begun."""
        outcomes: Outcomes = {}
        for name, work in works.items():
            try:
                self._bring_to_cpu(work)
            except OutOfDeviceMemory as error:
                outcomes[name] = OutOfDeviceMemory(str(error))
                self._moved.discard(name)
        there = {name: work for name, work in works.items() if name not in outcomes}
        return outcomes | self._until_it_fits(self._cpu_copy(), there) if there else outcomes

    def _bring_to_cpu(self, work: Work) -> None:
        """Takes the weights there, if they are not, and what the device has cached of the request, if it still has."""
        runner = self._cpu_copy()
        if runner is not self.runner:
            self.runner.hand_over(work.cache_names, runner)

    def _until_it_fits(self, runner: ModelRunner, works: Works) -> Outcomes:
        """The first three rungs: as it is, after freeing caches, and in halves."""
        first = self._tried(runner, works)
        if not isinstance(first, OutOfDeviceMemory):
            return first
        log.warning("%s", first)
        free_caches(runner.device)
        second = self._tried(runner, works)
        if not isinstance(second, OutOfDeviceMemory):
            return second
        if len(works) == 1:
            return dict.fromkeys(works, second)
        self.counters.num_split_batches += 1
        half = len(works) // 2
        self._shrink_to(half)
        outcomes: Outcomes = {}
        for part in _parts(works, half):
            outcomes |= self._until_it_fits(runner, part)
        return outcomes

    def _tried(self, runner: ModelRunner, works: Works) -> Outcomes | OutOfDeviceMemory:
        """The error comes back as a new one: the traceback of the old one holds the tensors of the pass."""
        started_s = time.perf_counter()
        try:
            outcomes = dict(zip(works, runner.run(list(works.values())), strict=True))
        except OutOfDeviceMemory as error:
            why = str(error)
        else:
            self._count_pass(runner, works, time.perf_counter() - started_s)
            return dict(outcomes)
        self.counters.num_out_of_memory += 1
        self._num_clean = 0
        return OutOfDeviceMemory(why)

    def _count_pass(self, runner: ModelRunner, works: Works, duration_s: float) -> None:
        sequences = [sequence for work in works.values() for sequence in work.sequences]
        self.counters.num_passes += 1
        self.counters.num_sequences += len(sequences)
        self.counters.num_tokens += sum(len(sequence.ids) for sequence in sequences)
        self.counters.busy_s += duration_s
        if runner is self.runner:
            self._num_moves_in_a_row = 0
            self._grow_again()

    # -- batches ----------------------------------------------------------------------------------------------------

    def _shrink_to(self, max_works: int) -> None:
        self._max_works = max_works if self._max_works is None else min(self._max_works, max_works)

    def _grow_again(self) -> None:
        self._num_clean += 1
        if self._max_works is None or self._num_clean < CLEAN_PASSES:
            return
        self._num_clean = 0
        larger = 2 * self._max_works
        self._max_works = larger if larger < self._config.max_running else None

    # -- moves ------------------------------------------------------------------------------------------------------

    @property
    def _is_on_cpu(self) -> bool:
        return self.runner.device_name == "cpu"

    @property
    def _threshold(self) -> float:
        """The share of memory that may be in use. A device that is named is to be used to the last byte."""
        return self._config.memory_threshold if self._config.device == "auto" else 1.0

    def _has_room(self, needs: Sequence[Need], freed_bytes: int = 0) -> bool:
        """Whether a step of all these fits the device, once so much of it is free again."""
        memory = self._memory(self.runner.device_name)
        return memory is None or memory.share_with(self._bytes_needed(needs) - freed_bytes) <= self._threshold

    def _has_room_on_cpu(self, need: Need, running: Mapping[str, Need]) -> bool:
        """Raises OutOfDeviceMemory where there is none, nor anybody to wait for."""
        there = [other for name, other in running.items() if self.device_of(name) == "cpu"]
        needed_bytes = self._bytes_needed([*there, need]) + self._bytes_of_cpu_copy()
        free_bytes = self._free_bytes_of_cpu()
        if free_bytes < needed_bytes and not running:
            free_caches(CPU)
            free_bytes = self._free_bytes_of_cpu()
        if free_bytes < needed_bytes and not running:
            raise OutOfDeviceMemory(
                f"the request may need {needed_bytes / 1e6:.0f} MB and {free_bytes / 1e6:.0f} MB are free"
            )
        return free_bytes >= needed_bytes

    def _free_bytes_of_cpu(self) -> float:
        memory = self._memory("cpu")
        return math.inf if memory is None else memory.free_bytes

    def _bytes_needed(self, needs: Sequence[Need]) -> int:
        """Bytes that a step of all these takes and none of them holds yet."""
        in_pass = self.runner.footprint.of_pass(sum(n.num_tokens for n in needs), sum(n.num_rows for n in needs))
        return in_pass + self.runner.footprint.cached(
            sum(n.max_cached - n.num_cached for n in needs),
            sum(n.max_distributions - n.num_distributions for n in needs),
        )

    def _bytes_held(self, needs: Sequence[Need]) -> int:
        return self.runner.footprint.cached(sum(n.num_cached for n in needs), sum(n.num_distributions for n in needs))

    def _bytes_of_cpu_copy(self) -> int:
        """Bytes that a request on the CPU takes beside its own need: the weights, where they are not there yet."""
        is_there = self._is_on_cpu or self._cpu_runner is not None
        return 0 if is_there else self._bytes_in(self.runner.dtype)

    def _move(self, request_id: str) -> None:
        self._moved.add(request_id)
        self._num_moves_in_a_row += 1
        self.counters.num_moved_requests += 1

    def _cpu_copy(self) -> ModelRunner:
        if self._is_on_cpu:
            return self.runner
        if self._cpu_runner is None:
            model = copied(self.runner.model, CPU, self._cpu_dtype())
            # Who demands graphs demands them of a model that belongs here, and not of one that finds refuge.
            runtime: RuntimeName = "torch" if self._config.cpu_runtime == "torch" else "auto"
            self._cpu_runner = ModelRunner(model, cpu_runtime=runtime)
        return self._cpu_runner

    def _cpu_dtype(self) -> torch.dtype:
        """float32, the fast type of a CPU, unless only the device's own type finds room.

        Raises:
            OutOfDeviceMemory: neither does; asked before, for a system that is out of memory ends the process.
        """
        memory = self._memory("cpu")
        if memory is None or self._bytes_in(torch.float32) <= memory.free_bytes:
            return torch.float32
        if self._bytes_in(self.runner.dtype) <= memory.free_bytes:
            return self.runner.dtype
        raise OutOfDeviceMemory(
            f"the weights do not fit the CPU: {self._bytes_in(self.runner.dtype) / 1e6:.0f} MB are needed and "
            f"{memory.free_bytes / 1e6:.0f} MB are free"
        )

    def _move_model(self) -> None:
        try:
            on_cpu = self._cpu_copy()
            self.runner.hand_over(self.runner.cached_names(), on_cpu)
        except OutOfDeviceMemory as error:
            log.error("the model stays on %s: %s", self.runner.device_name, error)
            self._num_moves_in_a_row = 0
            return
        device = self.runner.device
        self._home = Home(device, self.runner.device_name, self.runner.dtype)
        self.runner, self._cpu_runner = on_cpu, None
        self._moved.clear()
        free_caches(device)
        self._num_moves_in_a_row = 0
        self._look_at_s = self._clock() + RETURN_AFTER_S
        self.counters.num_moved_models += 1
        log.warning("the model has moved from %s to the CPU", self._home.name)

    def _bring_home(self, running: Iterable[str]) -> None:
        """Tried when a request arrives: without requests it does not matter where the weights are. Those that run stay
        where they began, with what is cached of them there."""
        if self._home is None or self._clock() < self._look_at_s:
            return
        self._look_at_s = self._clock() + RETURN_AFTER_S
        memory = self._memory(self._home.name)
        if memory is not None and memory.share_with(self._bytes_in(self._home.dtype)) > self._threshold:
            return
        try:
            model = copied(self.runner.model, self._home.device, self._home.dtype)
        except (OutOfDeviceMemory, RuntimeError) as error:  # what a broken device says is no reason to stop on the CPU
            log.warning("the model stays on the CPU: %s", first_line(error))
            return
        log.info("the model is back on %s", self._home.name)
        self._moved = {*running}
        self._cpu_runner = self.runner if self._moved else None
        self.runner = ModelRunner(model, self._home.name, self._config.cpu_runtime)
        self._home = None
        self.counters.num_returned_models += 1

    def _bytes_in(self, dtype: torch.dtype) -> int:
        model = self.runner.model
        quantised_bytes = sum(weight.numel() * weight.element_size() for weight in model.buffers())
        return quantised_bytes + sum(weight.numel() for weight in model.parameters()) * dtype.itemsize


def copied(model: FamilyModel, device: torch.device, dtype: torch.dtype) -> FamilyModel:
    """Copies a model with its weights to another device. Quantised ones keep their numbers.

    Raises:
        OutOfDeviceMemory: there is no room for them.
    """
    try:
        # What deepcopy finds in its memo it takes as copied already, so no weight is copied where it lies.
        weights = {id(w): nn.Parameter(w.to(device, dtype), requires_grad=False) for w in model.parameters()}
        quantised = {id(w): placed(w, device) for w in model.buffers()}
        return copy.deepcopy(model, {**weights, **quantised})
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfDeviceMemory(f"the weights do not fit {device}: {error}") from None


def _parts(works: Works, size: int | None) -> Iterator[Works]:
    items = iter(works.items())
    while part := dict(islice(items, size)):
        yield part
