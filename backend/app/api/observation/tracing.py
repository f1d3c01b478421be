"""Optional traces: a span for each HTTP request, and in it how long it queued and how long it was denoised.

Without the setting `otel_endpoint` nothing here is imported but this file. Spans never hold text.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.observation.route_template import route_of
from app.api.observation.status import StatusRecorder
from app.api.wire.kinds import is_probe
from app.api.wire.request_id import request_id
from app.core.settings import ENV_PREFIX, WrongSetting
from app.services.diffusion.requests.stats import Outcome, RunReport

if TYPE_CHECKING:
    import requests
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

SERVICE = "reynard-diffusion"
EXPORT_TIMEOUT_S = 3.0
"""The seconds that an export may take, and so a silent collector may hold up the end of the process."""
BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Variables that the exporter's HTTP library reads certificates from."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def provider_for(endpoint: str) -> TracerProvider:
    """Sends spans to the collector at `endpoint`, in batches and from a thread of its own; what it cannot send is lost.

    Raises:
        WrongSetting: the extra `otel` is not installed, or the environment names a proxy or certificates that cannot be
            used.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise WrongSetting(
            f"{ENV_PREFIX}OTEL_ENDPOINT={endpoint!r} needs packages that are not installed ({error.name}); "
            "pip install 'reynard-diffusion[otel]', or leave the setting empty"
        ) from None
    exporter = OTLPSpanExporter(
        f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_TIMEOUT_S, session=session_for(endpoint)
    )
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: SERVICE}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def session_for(endpoint: str) -> requests.Session:
    """A session for the collector; for one on this machine without the environment's proxies and certificates.

    Raises:
        WrongSetting: see `provider_for`.
    """
    import requests

    from reynard_diffusion.connections import is_loopback, missing_certificates, proxy_for, why_unusable  # brings httpx

    session = requests.Session()
    session.trust_env = not is_loopback(endpoint)
    proxy = proxy_for(endpoint)
    problem = None if proxy is None else why_unusable(proxy, socks_module="socks")
    if missing := missing_certificates(BUNDLES) if endpoint.startswith("https:") and session.trust_env else []:
        problem = f"{missing[0]} names a place that is not there; correct it, or unset it"
    if problem is not None:
        raise WrongSetting(f"{ENV_PREFIX}OTEL_ENDPOINT={endpoint!r} cannot be reached: {problem}")
    return session


class Traces:
    """Makes spans with a tracer of its own, so that nothing global changes."""

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer(SERVICE)
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def span_of(self, scope: Scope) -> Iterator[Span]:
        """The span of an HTTP request, current while the block runs; continues the trace of a `traceparent` header."""
        from opentelemetry.trace import SpanKind

        carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        with self._tracer.start_as_current_span(
            _method(scope),
            context=self._propagator.extract(carrier),
            kind=SpanKind.SERVER,
            # The message of an exception may hold text.
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            yield span

    def record_run(self, report: RunReport) -> None:
        """Observes the service: adds the spans of what is past, under the request's own."""
        ended_ns = time.time_ns()
        arrived_ns = ended_ns - _ns(report.processing_time_s)
        if report.queue_time_s is None:
            self._record("queue", report, arrived_ns, ended_ns)
        else:
            began_ns = arrived_ns + _ns(report.queue_time_s)
            self._record("queue", report, arrived_ns, began_ns)
            self._record("denoise", report, began_ns, ended_ns)

    def close(self) -> None:
        """Sends what is left. Blocks, though not for long."""
        self._provider.shutdown()

    def _record(self, name: str, report: RunReport, begin_ns: int, end_ns: int) -> None:
        span = self._tracer.start_span(name, start_time=begin_ns, attributes=_attributes(report))
        if report.outcome is Outcome.FAILED and report.code:
            _mark_failed(span, report.code)
        span.end(end_ns)


class TraceRequests:
    """Puts a span around each request that is no probe."""

    def __init__(self, app: ASGIApp, traces: Traces) -> None:
        self.app = app
        self.traces = traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or is_probe(scope):
            await self.app(scope, receive, send)
            return
        recorder = StatusRecorder(scope, send)
        with self.traces.span_of(scope) as span:
            try:
                await self.app(scope, receive, recorder.send)
            finally:
                _describe_answer(span, scope, recorder.status)


def _attributes(report: RunReport) -> dict[str, str | int]:
    return {
        "reynard.request_id": report.request_id,
        "reynard.operation": report.operation,
        "reynard.outcome": report.outcome.value,
        "reynard.requested_model": report.requested_model,
        "reynard.model": report.model_id,
        "reynard.device": report.device,
        "reynard.tokens": report.num_tokens,
        "reynard.denoising_steps": report.num_denoising_steps,
    }


def _describe_answer(span: Span, scope: Scope, status: int) -> None:
    route = route_of(scope)
    span.update_name(f"{_method(scope)} {route}".rstrip())
    span.set_attribute("http.request.method", _method(scope))
    span.set_attribute("http.route", route)
    span.set_attribute("http.response.status_code", status)
    span.set_attribute("reynard.request_id", request_id(scope))
    if status >= 500:
        _mark_failed(span, str(status))


def _mark_failed(span: Span, kind: str) -> None:
    from opentelemetry.trace import StatusCode

    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR)


def _method(scope: Scope) -> str:
    method = str(scope["method"])
    return method if method in METHODS else "_OTHER"


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
