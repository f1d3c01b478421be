"""Runs the engine and times its steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.engine.engine import Engine
from app.engine.interface.config import EngineConfig
from app.engine.interface.counters import EngineCounters
from app.engine.interface.errors import OutOfDeviceMemory
from app.engine.interface.events import Cancelled, EngineEvent, Failed, Finished, Step
from app.engine.interface.params import GenerationRequest
from app.engine.passes.runner import ModelRunner
from app.engine.request.state import RequestState
from benchmarks import machine

DEFAULTS = EngineConfig()


@dataclass(frozen=True, slots=True)
class EngineRun:
    """The result of requests that were denoised together."""

    ids: list[list[int]]
    """The new ids of each request."""
    nfe: int
    """The sum over all requests of their forward passes."""
    steps_s: list[float]
    """The seconds of each engine step."""
    counters: EngineCounters

    @property
    def num_tokens(self) -> int:
        return sum(map(len, self.ids))

    @property
    def requests_per_pass(self) -> float:
        return self.counters.num_sequences / self.counters.num_passes


def run_engine(
    runner: ModelRunner,
    requests: Sequence[GenerationRequest],
    config: EngineConfig = DEFAULTS,
    max_steps: int | None = None,
) -> EngineRun:
    """Denoises the requests to their end, or for `max_steps` engine steps.

    Raises:
        EngineError: a request failed.
        OutOfDeviceMemory: a request left the device for the CPU, so that the times would be those of both.
    """
    engine = Engine(runner, config)
    events: list[list[EngineEvent]] = [[] for _ in requests]
    for request, received in zip(requests, events, strict=True):
        engine.add(RequestState(request, runner.model.config, received.append))
    steps_s: list[float] = []
    try:
        while engine.has_work and len(steps_s) != max_steps:
            steps_s.append(machine.timed_s(engine.step))
            if engine.recovery.counters.num_moved_requests:
                raise OutOfDeviceMemory(f"{len(requests)} requests together do not fit {runner.device_name}")
    finally:
        for request in requests:
            engine.abort(request.request_id)  # it has no effect on requests that have ended
    ends = [received[-1] for received in events]
    for end in ends:
        if isinstance(end, Failed):
            raise end.error
    ids = [[i for event in received if isinstance(event, Step) for i in event.new_final] for received in events]
    nfe = sum(end.nfe for end in ends if isinstance(end, Finished | Cancelled))
    return EngineRun(ids, nfe, steps_s, engine.recovery.counters)
