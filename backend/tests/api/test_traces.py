"""Traces as a collector gets them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.api.serving import serving

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SECRET = "zanzibar-4711"


@contextmanager
def collector() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """Its URL, and the paths and bodies of what it is sent."""
    received: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        serving_thread = threading.Thread(target=server.serve_forever)
        serving_thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", received
        finally:
            server.shutdown()
            serving_thread.join()


def test_a_request_is_sent_as_a_trace_when_the_server_ends(tmp_path: Path) -> None:
    with collector() as (url, received), serving(tmp_path / "traced", OTEL_ENDPOINT=url) as traced:
        traced.wait_until_ready()
        body = {"text": SECRET, "model_id": "llada", "max_length": 4}
        answer = traced.post("/generate/stream", body, headers={"traceparent": TRACEPARENT, "X-Request-ID": "traced-1"})
        assert answer.status_code == 200
        traced.process.terminate()
        traced.process.wait(timeout=120)
    spans = {span.name: span for path, content in received for span in spans_of(path, content) if is_ours(span)}
    assert spans.keys() == {"POST /api/diffusion/generate/stream", "queue", "denoise"}
    server = spans["POST /api/diffusion/generate/stream"]
    assert spans["queue"].parent_span_id == spans["denoise"].parent_span_id == server.span_id
    assert server.start_time_unix_nano <= spans["queue"].start_time_unix_nano
    assert spans["queue"].end_time_unix_nano == spans["denoise"].start_time_unix_nano
    assert spans["denoise"].end_time_unix_nano <= server.end_time_unix_nano
    for span in spans.values():
        named = {attribute.key: attribute.value.string_value for attribute in span.attributes}
        assert named["reynard.request_id"] == "traced-1"
    assert all(SECRET.encode() not in content for _, content in received)


def is_ours(span: Span) -> bool:
    return span.trace_id.hex() == TRACEPARENT.split("-")[1]


def spans_of(path: str, content: bytes) -> Iterator[Span]:
    assert path == "/v1/traces"
    for resource in ExportTraceServiceRequest.FromString(content).resource_spans:
        names = {attribute.key: attribute.value.string_value for attribute in resource.resource.attributes}
        assert names["service.name"] == "reynard-diffusion"
        for scope in resource.scope_spans:
            yield from scope.spans
