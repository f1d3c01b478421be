"""Reads Server-Sent Events line by line, as typed events or as pieces of a conversation."""

from __future__ import annotations

import json
from typing import Any, Generic, Protocol, TypeVar

from reynard_diffusion.errors import ConnectionLost, UnexpectedAnswer
from reynard_diffusion.problems import problem_in_stream
from reynard_diffusion.results import DiffusionStreamEvent, GenerationResult
from reynard_diffusion.typed_json import typed

FIELD = "data:"
"""The prefix of the lines that count; other lines repeat them, or keep the connection alive."""

BROKEN_OFF = "the stream broke off before its end; ask again, with the same seed for the same text"

T_co = TypeVar("T_co", covariant=True)


class Reader(Protocol, Generic[T_co]):
    """A reader of one stream."""

    def feed(self, line: str) -> T_co | None:
        """The item that this line completes.

        Raises:
            DiffusionError: the stream reports that it failed.
        """

    def finish(self) -> None:
        """Checks that the stream is complete.

        Raises:
            ConnectionLost: it is not.
        """


class EventReader:
    """Reads the events of `/generate/stream` and `/infill/stream`."""

    _is_complete = False

    def feed(self, line: str) -> DiffusionStreamEvent | None:
        if not line.startswith(FIELD):
            return None
        try:
            event = typed(DiffusionStreamEvent, json.loads(line.removeprefix(FIELD)))
        except (ValueError, RecursionError) as error:
            raise UnexpectedAnswer(f"this is no event of a stream: {line[:200]!r}") from error
        if event.type == "error":
            problem = event.metadata
            raise problem_in_stream(
                str(event.data),
                code=str(problem.get("code", "")),
                request_id=str(problem.get("request_id", "")),
                partial_text=str(problem.get("text", "")),
            )
        self._is_complete = event.type == "complete"
        return event

    def finish(self) -> None:
        if not self._is_complete:
            raise ConnectionLost(BROKEN_OFF)


class ChatReader:
    """Reads the pieces of text in the chunks of `/v1/chat/completions`."""

    _is_complete = False

    def feed(self, line: str) -> str | None:
        data = line.removeprefix(FIELD).strip() if line.startswith(FIELD) else ""
        if data == "[DONE]":
            self._is_complete = True
        return _piece(data) if data.startswith("{") else None

    def finish(self) -> None:
        if not self._is_complete:
            raise ConnectionLost(BROKEN_OFF)


def _piece(data: str) -> str | None:
    try:
        chunk = json.loads(data)
        if error := chunk.get("error"):
            raise problem_in_stream(str(error["message"]), code=str(error.get("code") or ""))
        choices: list[dict[str, Any]] = chunk.get("choices", [])
        return choices[0]["delta"].get("content") or None if choices else None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnexpectedAnswer(f"this is no chunk of a conversation: {data[:200]!r}") from error


class Fold:
    """Collects the events of a stream into its result."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._complete: DiffusionStreamEvent | None = None

    def add(self, event: DiffusionStreamEvent) -> DiffusionStreamEvent:
        """Collects an event, and returns it."""
        if event.type == "token":
            self._pieces.append(event.data)
        elif event.type == "complete":
            self._complete = event
        return event

    def result(self) -> GenerationResult:
        if self._complete is None:
            raise RuntimeError("this stream was closed before its end, so there is no result; read it to the end")
        facts = self._complete.metadata
        try:
            return typed(GenerationResult, {**facts, "text": "".join(self._pieces), "metadata": facts})
        except (TypeError, ValueError) as error:
            raise UnexpectedAnswer(f"this stream has no result: {error}") from error
