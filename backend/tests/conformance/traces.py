"""Runs requests through a real engine, step by step on this thread, and writes down every canvas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from app.engine.canvas.edits import Edits
from app.engine.canvas.special import SpecialIds
from app.engine.decoding.step import StepPlan
from app.engine.engine import Engine
from app.engine.interface.config import EngineConfig
from app.engine.interface.events import EngineEvent, Failed
from app.engine.interface.params import GenerationRequest
from app.engine.passes.runner import ModelRunner
from app.engine.passes.work import Work
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


class _MostProbable(RequestState):
    """Takes the most probable token of the distribution from which it would draw."""

    def _work_for(self, plan: StepPlan) -> Work:
        return replace(super()._work_for(plan), uniforms=())


def run(
    runner: ModelRunner,
    requests: Sequence[GenerationRequest],
    *,
    together: bool,
    special: Mapping[str, SpecialIds | None] | None = None,
) -> list[Trace]:
    """Traces in the order of `requests`; `together` puts all of them into one batch.

    Args:
        special: ids with a role by the name of a request, where it has others than the checkpoint. Such a request draws
            nothing: it takes what is most probable.
    """
    if not together:
        return [run(runner, [request], together=True, special=special)[0] for request in requests]
    engine = Engine(runner, EngineConfig(max_running=10_000, max_batch_tokens=10**9, max_logits_bytes=10**12))
    traces = [Trace() for _ in requests]
    states = []
    for request, trace in zip(requests, traces, strict=True):
        states.append(_state(runner, request, trace, (special or {}).get(request.request_id)))
        engine.add(states[-1])
    _record_start(engine, states, traces)
    while engine.has_work:
        engine.step()
        for state, trace in zip(states, traces, strict=True):
            _record_step(state, trace)
    return traces


def _state(runner: ModelRunner, request: GenerationRequest, trace: Trace, special: SpecialIds | None) -> RequestState:
    if special is None:
        return RequestState(request, runner.model.config, trace.events.append)
    return _MostProbable(request, replace(runner.model.config, special=special), trace.events.append)


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
