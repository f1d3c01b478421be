"""Readers of both framings that know the formats' definitions and nothing of this project.

`EventStreamReader` follows the algorithm of the HTML standard, "Interpreting an event stream", line by line; it takes
the bytes in pieces, cut anywhere.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Message:
    """A message that a browser's EventSource dispatches."""

    event: str
    data: str
    last_event_id: str


class EventStreamReader:
    """Feeds on bytes, gives messages."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._line = ""
        self._follows_carriage_return = False
        self._data: list[str] = []
        self._event = ""
        self._last_event_id = ""

    def feed(self, piece: bytes) -> Iterator[Message]:
        for character in self._decoder.decode(piece):
            yield from self._take(character)

    def _take(self, character: str) -> Iterator[Message]:
        is_second_half = character == "\n" and self._follows_carriage_return
        self._follows_carriage_return = character == "\r"
        if is_second_half:
            return
        if character not in "\r\n":
            self._line += character
            return
        line, self._line = self._line, ""
        if line:
            self._process(line)
        else:
            yield from self._dispatch()

    def _process(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "event":
                self._event = value
            case "data":
                self._data.append(value)
            case "id" if "\0" not in value:
                self._last_event_id = value

    def _dispatch(self) -> Iterator[Message]:
        data, event = self._data, self._event or "message"
        self._data, self._event = [], ""
        if data:
            yield Message(event, "\n".join(data), self._last_event_id)


def messages_of(pieces: Iterable[bytes]) -> list[Message]:
    reader = EventStreamReader()
    return [message for piece in pieces for message in reader.feed(piece)]


def lines_of(pieces: Iterable[bytes]) -> list[Any]:
    """The lines for a client that decodes the whole, splits it at Python's line ends and skips empty lines, which are
    signs of life."""
    return [json.loads(line) for line in b"".join(pieces).decode().splitlines() if line]
