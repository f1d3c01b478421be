"""The framings of streams. The service's own events leave as Server-Sent Events or as JSON lines, as `Accept` asks."""

from __future__ import annotations

from typing import Any, Protocol

from app.api.wire.json_encoding import json_bytes
from app.services.diffusion.models import DiffusionStreamEvent

SERVER_SENT_EVENTS = "text/event-stream"
JSON_LINES = "application/x-ndjson"

COMMENT = b": keep-alive\n\n"
"""A sign of life that readers of Server-Sent Events pass over."""


class Framing(Protocol):
    """The way in which a face writes a stream. An instance belongs to one stream."""

    media_type: str
    keep_alive: bytes
    """The bytes that are sent while nothing happens, so that neither a proxy nor a client takes the stream for dead."""

    def write(self, index: int, event: DiffusionStreamEvent) -> bytes:
        """The bytes for an event of the choice with this index; none where clients are not sent it."""

    def end(self) -> bytes:
        """The bytes behind the last event of all choices, where no error was among them."""


class ServerSentEvents:
    """Writes `id`, `event` and `data`, then an empty line; the ids count from 0."""

    media_type = SERVER_SENT_EVENTS
    keep_alive = COMMENT

    def __init__(self) -> None:
        self._next_id = 0

    def write(self, index: int, event: DiffusionStreamEvent) -> bytes:
        head = f"id: {self._next_id}\nevent: {event.type}\ndata: ".encode()
        self._next_id += 1
        return head + json_bytes(event) + b"\n\n"

    def end(self) -> bytes:
        return b""


class JsonLines:
    """Writes one JSON object per line. The format knows no comments, so an empty line is the sign of life."""

    media_type = JSON_LINES
    keep_alive = b"\n"

    def write(self, index: int, event: DiffusionStreamEvent) -> bytes:
        return json_bytes(event) + b"\n"

    def end(self) -> bytes:
        return b""


def data_line(value: Any) -> bytes:
    """An event without a name, as OpenAI's clients and llama.cpp's read it."""
    return b"data: " + json_bytes(value) + b"\n\n"


def framing_for(accept: str) -> Framing:
    """Server-Sent Events where the client names them and does not prefer JSON lines; JSON lines otherwise."""
    qualities = dict(map(_media_range, accept.split(",")))
    events = qualities.get(SERVER_SENT_EVENTS, 0.0)
    return ServerSentEvents() if events > 0 and events >= qualities.get(JSON_LINES, 0.0) else JsonLines()


def _media_range(text: str) -> tuple[str, float]:
    media_type, *parameters = (part.strip().lower() for part in text.split(";"))
    quality = next((value for name, _, value in (p.partition("=") for p in parameters) if name == "q"), "1")
    try:
        return media_type, float(quality)
    except ValueError:
        return media_type, 0.0
