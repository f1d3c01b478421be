"""A scripted server over real HTTP, which records its requests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

PROBLEM = "application/problem+json"
EVENTS = "text/event-stream"


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: str = "{}"
    headers: dict[str, str] = field(default_factory=dict)
    media_type: str = "application/json"


@dataclass
class ScriptedServer:
    """Gives its answers in turn, and the last one again and again."""

    url: str
    answers: list[Answer]
    requests: list[BaseHTTPRequestHandler] = field(default_factory=list)

    def next_answer(self, request: BaseHTTPRequestHandler) -> Answer:
        self.requests.append(request)
        return self.answers[min(len(self.requests), len(self.answers)) - 1]

    @property
    def paths(self) -> list[str]:
        return [request.path for request in self.requests]

    def header(self, name: str) -> str | None:
        """The value of a header of the last request."""
        return self.requests[-1].headers[name]


@contextmanager
def scripted(*answers: Answer) -> Iterator[ScriptedServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = server.next_answer(self)
            body = answer.body.encode()
            self.send_response(answer.status)
            headers = {"Content-Type": answer.media_type, "Content-Length": str(len(body)), **answer.headers}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            """Logs nothing."""

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server = ScriptedServer(f"http://127.0.0.1:{listener.server_port}", list(answers))
    thread = Thread(target=listener.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        thread.join()
        listener.server_close()
