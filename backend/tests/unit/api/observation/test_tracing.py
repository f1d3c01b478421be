from __future__ import annotations

import asyncio
import sys
from dataclasses import replace

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from app.api.observation.tracing import TraceRequests, Traces, provider_for, session_for
from app.api.wire.request_id import RequestId
from app.core.settings import Settings, WrongSetting
from app.server import create_app
from app.services.diffusion.requests.stats import Outcome, RunReport
from tests.unit.api.asgi import Client, http_scope

TRACE_ID = 0x0AF7651916CD43DD8448EB211C80319C
TRACEPARENT = f"00-{TRACE_ID:032x}-b7ad6b7169203331-01"
ANSWERED = RunReport(
    Outcome.SUCCESSFUL,
    "generate",
    request_id="id-1",
    processing_time_s=2.0,
    requested_model="dreamon",
    model_id="llada",
    device="cpu",
    queue_time_s=0.5,
    num_tokens=24,
    num_denoising_steps=16,
)


class Collected:
    """Traces that stay in memory."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.traces = Traces(provider)

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self._exporter.get_finished_spans()}


async def traced(collected: Collected, report: RunReport | None = None, status: int = 200, **headers: str) -> None:
    """A request under which a run was reported, from a task of its own as the service does it."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        scope["route"] = Route("/things/{thing}", Response())
        if report is not None:
            await asyncio.create_task(asyncio.to_thread(collected.traces.record_run, report))
        await Response(status_code=status)(scope, receive, send)

    app = TraceRequests(RequestId(answer), collected.traces)
    await Client().call(app, http_scope("/things/secret", headers=headers))


async def test_a_request_is_a_span_with_its_queueing_and_its_denoising() -> None:
    collected = Collected()
    await traced(collected, ANSWERED)
    spans = collected.spans
    server, queue, denoise = spans["POST /things/{thing}"], spans["queue"], spans["denoise"]
    assert server.kind is SpanKind.SERVER
    assert server.attributes is not None
    assert server.attributes["http.response.status_code"] == 200
    assert server.attributes["reynard.request_id"]
    assert {span.context.trace_id for span in spans.values()} == {server.context.trace_id}
    for child in (queue, denoise):
        assert child.parent is not None
        assert child.parent.span_id == server.context.span_id
    assert queue.end_time == denoise.start_time
    assert duration_s(queue) == pytest.approx(0.5)
    assert duration_s(denoise) == pytest.approx(1.5)


async def test_attributes_report_the_outcome_and_none_of_the_text() -> None:
    collected = Collected()
    await traced(collected, ANSWERED)
    assert dict(collected.spans["denoise"].attributes or {}) == {
        "reynard.request_id": "id-1",
        "reynard.operation": "generate",
        "reynard.outcome": "successful",
        "reynard.requested_model": "dreamon",
        "reynard.model": "llada",
        "reynard.device": "cpu",
        "reynard.tokens": 24,
        "reynard.denoising_steps": 16,
    }
    assert all("secret" not in span.to_json() for span in collected.spans.values())


async def test_a_trace_that_was_begun_elsewhere_is_continued() -> None:
    collected = Collected()
    await traced(collected, ANSWERED, traceparent=TRACEPARENT)
    assert {span.context.trace_id for span in collected.spans.values()} == {TRACE_ID}


async def test_a_traceparent_that_is_none_begins_a_trace() -> None:
    collected = Collected()
    await traced(collected, traceparent="00-xyz-1-01")
    assert collected.spans["POST /things/{thing}"].parent is None


async def test_failures_are_marked() -> None:
    collected = Collected()
    refused = replace(ANSWERED, outcome=Outcome.FAILED, code="queue_full", queue_time_s=None)
    await traced(collected, refused, status=503)
    assert collected.spans.keys() == {"queue", "POST /things/{thing}"}
    for span in collected.spans.values():
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description is None


async def test_the_message_of_an_exception_is_not_recorded() -> None:
    collected = Collected()

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("secret")

    with pytest.raises(RuntimeError):
        await Client().call(TraceRequests(broken, collected.traces), http_scope())
    assert "secret" not in collected.spans["POST"].to_json()


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/metrics"])
async def test_probes_are_no_traces(path: str) -> None:
    collected = Collected()
    await Client().call(TraceRequests(Response(), collected.traces), http_scope(path))
    assert not collected.spans


def test_without_the_extra_the_start_stops_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(WrongSetting) as caught:
        create_app(Settings(otel_endpoint="http://collector:4318"))
    message = str(caught.value)
    assert message.startswith("DIFFUSION_OTEL_ENDPOINT='http://collector:4318' needs packages")
    assert "reynard-diffusion[otel]" in message
    assert len(message.splitlines()) == 1


def test_a_missing_collector_does_not_delay_the_end() -> None:
    traces = Traces(provider_for("http://127.0.0.1:9"))
    traces.record_run(ANSWERED)
    traces.close()


def duration_s(span: ReadableSpan) -> float:
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.end_time - span.start_time) / 1e9


@pytest.mark.parametrize("endpoint", ["http://localhost:4318", "https://127.0.0.1:4318", "http://[::1]:4318"])
def test_a_collector_on_this_machine_is_asked_directly(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    for name, value in (("HTTP_PROXY", "http://x:y"), ("HTTPS_PROXY", "socks5://x"), ("REQUESTS_CA_BUNDLE", "/gone")):
        monkeypatch.setenv(name, value)
    assert not session_for(endpoint).trust_env


@pytest.mark.parametrize(
    ("endpoint", "name", "value"),
    [
        ("http://collector.example", "HTTP_PROXY", "http://x:y"),
        ("https://collector.example", "https_proxy", "nonsense://x"),
        ("https://collector.example", "REQUESTS_CA_BUNDLE", "/gone"),
        ("https://collector.example", "CURL_CA_BUNDLE", "/gone"),
    ],
)
def test_an_obstacle_on_the_way_to_a_collector_is_named(
    monkeypatch: pytest.MonkeyPatch, endpoint: str, name: str, value: str
) -> None:
    assert session_for(endpoint).trust_env
    monkeypatch.setenv(name, value)
    with pytest.raises(WrongSetting, match=f"OTEL_ENDPOINT='{endpoint}' cannot be reached: {name} names"):
        provider_for(endpoint)
