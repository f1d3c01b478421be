"""The wiring of what watches the application: metrics always, traces where a collector is named."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from app.api.observation.http_metrics import HttpMetrics
from app.api.observation.instruments import Instruments
from app.api.observation.loop_lag import watch_event_loop
from app.api.observation.tracing import TraceRequests, Traces, provider_for
from app.services.diffusion import DiffusionLLMService


def add_observation(app: FastAPI, service: DiffusionLLMService, *, otel_endpoint: str) -> None:
    """Adds middleware outside of all that answers, so that every answer is seen: call it when that is added.

    Raises:
        WrongSetting: traces are asked for, and the extra `otel` is not installed.
    """
    instruments = Instruments()
    service.subscribe(instruments.requests.count)
    app.state.instruments = instruments
    app.add_middleware(HttpMetrics, instruments=instruments)
    app.state.traces = Traces(provider_for(otel_endpoint)) if otel_endpoint else None
    if app.state.traces is not None:
        service.subscribe(app.state.traces.record_run)
        app.add_middleware(TraceRequests, traces=app.state.traces)


@asynccontextmanager
async def observing(app: FastAPI) -> AsyncIterator[None]:
    """Watches the event loop while the application runs, and sends the last traces at the end."""
    watching = asyncio.create_task(watch_event_loop(app.state.instruments.note_lag))
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.wait({watching})
        if app.state.traces is not None:
            await asyncio.to_thread(app.state.traces.close)
