"""Runs requests through a real engine, step by step on this thread, and writes down every canvas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from app.engine.canvas.edits import Edits
from app.engine.engine import Engine
from app.engine.interface.config import EngineConfig
from app.engine.interface.events import EngineEvent, Failed
from app.engine.interface.params import GenerationRequest
from app.engine.passes.runner import ModelRunner
from app.engine.request.state import RequestState


@dataclass
class Trace:
    """The course of one request."""

    canvases: list[list[int]] = field(default_factory=list)
    """The canvas at the start and after every step."""
    edits: list[Edits] = field(default_factory=list)
    """The edits of each step."""
    span: tuple[int, int] = (0, 0)
    """The half-open span of the new part at the end."""
    nfe: int = 0
    events: list[EngineEvent] = field(default_factory=list)


def run(runner: ModelRunner, requests: Sequence[GenerationRequest], *, together: bool) -> list[Trace]:
    """Traces in the order of `requests`; `together` puts all of them into one batch."""
    if not together:
        return [run(runner, [request], together=True)[0] for request in requests]
    engine = Engine(runner, EngineConfig(max_running=10_000, max_batch_tokens=10**9, max_logits_bytes=10**12))
    traces = [Trace() for _ in requests]
    states = []
    for request, trace in zip(requests, traces, strict=True):
        states.append(RequestState(request, runner.model.config, trace.events.append))
        engine.add(states[-1])
    _record_start(engine, states, traces)
    while engine.has_work:
        engine.step()
        for state, trace in zip(states, traces, strict=True):
            _record_step(state, trace)
    return traces


def _record_start(engine: Engine, states: Sequence[RequestState], traces: Sequence[Trace]) -> None:
    engine.admit()
    for state, trace in zip(states, traces, strict=True):
        trace.canvases.append(list(state.canvas.ids))


def _record_step(state: RequestState, trace: Trace) -> None:
    failures = [event for event in trace.events if isinstance(event, Failed)]
    if failures:
        raise failures[0].error
    if state.nfe > trace.nfe:
        trace.nfe = state.nfe
        trace.canvases.append(list(state.canvas.ids))
        trace.edits.append(state.edits)
        trace.span = (state.canvas.span_start, state.canvas.span_end)
