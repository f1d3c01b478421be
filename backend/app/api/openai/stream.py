"""A call's events as chunks: `data: {json}`, and `data: [DONE]` at the end."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from app.api.errors import problem_of_code
from app.api.framing import data_line
from app.api.generations import IndexedEvents
from app.api.openai.answers import Choice, Completion, Form, end_of, usage_of
from app.api.openai_problem import openai_problem
from app.services.diffusion import DiffusionStreamEvent

STEP_EVENT = "diffusion.step"
DONE = b"data: [DONE]\n\n"


class ChunkWriter:
    """Writes the events of one call, whose choices may come in any mixture.

    Args:
        openings: what each choice begins with.
        num_choices: per prompt.
    """

    def __init__(
        self, form: Form, call_id: str, *, openings: Sequence[str], num_choices: int, tells_usage: bool
    ) -> None:
        self._form = form
        self._openings = openings
        self._num_choices = num_choices
        self._tells_usage = tells_usage
        self._head: dict[str, Any] = {
            "id": form.id_prefix + call_id,
            "object": form.chunk_object,
            "created": int(time.time()),
        }
        self._ends: dict[int, dict[str, Any]] = {}  # what was told at the end of each choice

    def write(self, index: int, event: DiffusionStreamEvent) -> bytes:
        match event.type:
            case "start":
                self._head["model"] = event.metadata["model_id"]
                return self._choice(index, **self._form.first(self._openings[index]))
            case "token":
                logprobs = self._form.logprobs(event.metadata.get("logprobs", ()))
                return self._choice(index, **self._form.piece(event.data), logprobs=logprobs)
            case "step":
                return f"event: {STEP_EVENT}\n".encode() + self._chunk(choices=[], diffusion=_step(index, event.data))
            case "complete":
                told = self._ends[index] = event.metadata
                return self._choice(index, **self._form.last(), **end_of(told))
            case "error":
                return data_line(openai_problem(problem_of_code(event.metadata["code"], event.data)))

    def end(self) -> bytes:
        if not self._tells_usage:
            return DONE
        ends = [self._ends[index] for index in sorted(self._ends)]
        return self._chunk(choices=[], usage=usage_of(ends, self._num_choices)) + DONE

    def _choice(self, index: int, **worded: Any) -> bytes:
        worded = {"logprobs": None, "finish_reason": None, **worded}
        return self._chunk(choices=[Choice(index=index, **worded)])

    def _chunk(self, **content: Any) -> bytes:
        usage = {"usage": None} if self._tells_usage else {}
        return data_line(Completion(**{**self._head, **usage, **content}).model_dump(exclude_unset=True))


def _step(index: int, data: Any) -> dict[str, Any]:
    """A model of one's own may draw its canvas as it likes."""
    return {**(data if isinstance(data, dict) else {"data": data}), "index": index}


async def chunks(indexed: IndexedEvents, writer: ChunkWriter) -> AsyncGenerator[bytes, None]:
    """Ends with the first error: what else was asked for in the same call is given up."""
    async with aclosing(indexed) as events:
        async for index, event in events:
            yield writer.write(index, event)
            if event.type == "error":
                return
    yield writer.end()
