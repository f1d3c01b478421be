"""The events of a call as chunks: `data: {json}`, and `data: [DONE]` at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from app.api.errors.openai_problem import openai_problem
from app.api.errors.table import problem_of_code
from app.api.openai.answers import Choice, Completion, Form, Usage, usage_of
from app.api.openai.requests import OpenAIRequest, StreamOptions
from app.api.streams.framing import COMMENT, SERVER_SENT_EVENTS, data_line
from app.services.diffusion import DiffusionStreamEvent
from app.services.diffusion.metadata import AnswerMetadata, answer_metadata

STEP_EVENT = "diffusion.step"
DONE = b"data: [DONE]\n\n"


class Chunks:
    """The framing of one call, whose choices may come in any mixture.

    Args:
        openings: what each choice begins with.
        progress: counts the tokens of each choice, until its last event reports them.
    """

    media_type = SERVER_SENT_EVENTS
    keep_alive = COMMENT

    def __init__(
        self,
        form: Form,
        call_id: str,
        asked: OpenAIRequest,
        *,
        openings: Sequence[str],
        progress: Sequence[Callable[[], Mapping[str, int]]],
    ) -> None:
        options = asked.stream_options or StreamOptions()
        self._forms = [form.of_one() for _ in openings]
        self._asked = asked
        self._openings = openings
        self._progress = progress
        self._sends_usage = bool(options.include_usage)
        self._sends_usage_always = self._sends_usage and bool(options.continuous_usage_stats)
        self._head: dict[str, Any] = {
            "id": form.id_prefix + call_id,
            "object": form.chunk_object,
            "created": int(time.time()),
        }
        self._reported: dict[int, AnswerMetadata] = {}  # of each choice so far

    def write(self, index: int, event: DiffusionStreamEvent) -> bytes:
        form = self._forms[index]
        reported = self._reported[index] = answer_metadata(self._progress[index](), event.metadata)
        match event.type:
            case "start":
                self._head["model"] = reported["model_id"]
                opening = self._openings[index] or self._asked.prompt_text(reported)
                return self._choice(index, **form.first(opening))
            case "token":
                noted = event.metadata.get("logprobs", ())
                logprobs = form.logprobs(noted) if noted else None
                return self._choice(index, **form.piece(event.data), logprobs=logprobs)
            case "step":
                return f"event: {STEP_EVENT}\n".encode() + self._chunk(choices=[], diffusion=_step(index, event.data))
            case "complete":
                return self._choice(index, **form.last(), **form.end(reported))
            case "error":
                return data_line(openai_problem(problem_of_code(event.metadata["code"], event.data)))

    def end(self) -> bytes:
        if not self._sends_usage:
            return DONE
        return self._chunk(choices=[], usage=self._usage()) + DONE

    def _choice(self, index: int, **worded: Any) -> bytes:
        worded = {"logprobs": None, "finish_reason": None, **worded}
        return self._chunk(choices=[Choice(index=index, **worded)])

    def _chunk(self, **content: Any) -> bytes:
        usage = {"usage": self._usage() if self._sends_usage_always else None} if self._sends_usage else {}
        return data_line(Completion(**{**self._head, **usage, **content}).model_dump(exclude_unset=True))

    def _usage(self) -> Usage:
        return usage_of(self._reported, self._asked.num_choices, num_cut_characters=self._asked.num_cut_characters)


def _step(index: int, data: Any) -> dict[str, Any]:
    """The data of a step. A model from outside may draw its canvas as it likes."""
    return {**(data if isinstance(data, dict) else {"data": data}), "index": index}
