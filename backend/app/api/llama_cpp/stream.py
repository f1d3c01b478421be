"""Answers to `/infill` as a stream: `data: {json}` for each piece of text, and for the end of each answer."""

from __future__ import annotations

from collections.abc import Sequence

from app.api.errors.openai_problem import openai_problem
from app.api.errors.table import problem_of_code
from app.api.llama_cpp.answers import InfillAnswer
from app.api.streams.framing import COMMENT, SERVER_SENT_EVENTS, data_line
from app.services.diffusion import DiffusionStreamEvent


class InfillChunks:
    """The framing of one call. Each event goes to its answer, which knows what is sent of it."""

    media_type = SERVER_SENT_EVENTS
    keep_alive = COMMENT

    def __init__(self, answers: Sequence[InfillAnswer]) -> None:
        self._answers = answers

    def write(self, index: int, event: DiffusionStreamEvent) -> bytes:
        self._answers[index].take(event)
        if event.type == "error":
            return data_line(openai_problem(problem_of_code(event.metadata["code"], event.data)))
        return data_line(self._answers[index].piece(event.data or "")) if event.type in ("start", "token") else b""

    def end(self) -> bytes:
        return b"".join(data_line(answer.last()) for answer in self._answers)
