"""Events as bytes: Server-Sent Events or one JSON object per line, as the client's Accept header asks."""

from __future__ import annotations

from typing import Any, Protocol

from app.api.wire.json_encoding import json_bytes
from app.services.diffusion.models import DiffusionStreamEvent

SERVER_SENT_EVENTS = "text/event-stream"
JSON_LINES = "application/x-ndjson"


class Framing(Protocol):
    """How one stream is written. An instance belongs to one stream."""

    media_type: str
    keep_alive: bytes
    """What is sent while nothing happens, so that neither a proxy nor a client takes the stream for dead."""

    def encode(self, event: DiffusionStreamEvent) -> bytes: ...


class ServerSentEvents:
    """`id`, `event` and `data`, then an empty line; the ids count from 0."""

    media_type = SERVER_SENT_EVENTS
    keep_alive = b": keep-alive\n\n"

    def __init__(self) -> None:
        self._next_id = 0

    def encode(self, event: DiffusionStreamEvent) -> bytes:
        head = f"id: {self._next_id}\nevent: {event.type}\ndata: ".encode()
        self._next_id += 1
        return head + json_bytes(event) + b"\n\n"


class JsonLines:
    """One JSON object per line. The format knows no comments, so that an empty line is the sign of life."""

    media_type = JSON_LINES
    keep_alive = b"\n"

    def encode(self, event: DiffusionStreamEvent) -> bytes:
        return json_bytes(event) + b"\n"


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
