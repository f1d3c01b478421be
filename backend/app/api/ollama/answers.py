"""Answers as Ollama's clients read them: whole ones, and the lines of streamed ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from app.api.ollama.names import answering
from app.services.diffusion.metadata import AnswerMetadata, num_seen_tokens


class OllamaAnswerMessage(BaseModel):
    """The turn that was asked for, or a piece of it."""

    role: Literal["assistant"]
    content: str


class OllamaAlternative(BaseModel):
    """A token that might have stood there."""

    token: str
    logprob: float
    bytes: list[int]


class OllamaLogprob(OllamaAlternative):
    """The log-probability of a token."""

    top_logprobs: list[OllamaAlternative]


class OllamaAnswer(BaseModel):
    """An answer, or a line of a streamed one; of its last line come the fields from `done_reason` on."""

    model: str
    created_at: str
    response: str | None = Field(None, description="Text, of `generate`.")
    message: OllamaAnswerMessage | None = Field(None, description="Text, of `chat`.")
    logprobs: list[OllamaLogprob] | None = None
    done: bool
    done_reason: Literal["stop", "length", "load", "unload"] | None = None
    total_duration: int | None = Field(None, description="Nanoseconds from the request's arrival to its last token.")
    load_duration: int | None = Field(None, description="Nanoseconds of these before the model began with it.")
    prompt_eval_count: int | None = Field(None, description="Tokens of the given text that the model saw.")
    prompt_eval_duration: int | None = Field(
        None, description="Always 0: the steps process prompt and answer together, so all of the time is the answer's."
    )
    eval_count: int | None = Field(None, description="Tokens of the answer.")
    eval_duration: int | None = Field(None, description="The other nanoseconds.")
    seed: int | None = Field(None, description="Gives this answer again.")
    truncated_prompt_tokens: int | None = Field(None, description="Left out, because they did not fit the context.")
    truncated_prompt_characters: int | None = Field(
        None, description="Left out before, because a side of a gap has a bound."
    )


def as_response(text: str) -> dict[str, Any]:
    """The text of an answer to `generate`."""
    return {"response": text}


def as_message(text: str) -> dict[str, Any]:
    """The text of an answer to `chat`."""
    return {"message": {"role": "assistant", "content": text}}


@dataclass(frozen=True, slots=True)
class Form:
    """The form of the answers to one request.

    Attributes:
        name: the model that was asked for, as the client wrote it.
        worded: says where the text stands.
        num_cut_characters: characters of the given text that the service never saw.
    """

    name: str | None
    worded: Callable[[str], dict[str, Any]]
    num_cut_characters: int = 0

    def piece(self, model_id: str, text: str, logprobs: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
        """A line for the next piece of text."""
        return {**self._head(model_id), **self.worded(text), **_logprobs(logprobs), "done": False}

    def end(self, reported: AnswerMetadata, text: str = "") -> dict[str, Any]:
        """The last line, or with all of the text the whole answer."""
        logprobs = _logprobs(reported.get("logprobs", ()))
        measured = {**_counts(reported), "truncated_prompt_characters": self.num_cut_characters}
        head = {**self._head(reported["model_id"]), **self.worded(text), **logprobs, "done": True}
        return {**head, "done_reason": _reason(reported), **measured}

    def nothing(self, model_id: str, reason: Literal["load", "unload"]) -> dict[str, Any]:
        """The answer to a request without a text."""
        return {**self._head(model_id), **self.worded(""), "done": True, "done_reason": reason}

    def _head(self, model_id: str) -> dict[str, Any]:
        return {"model": answering(self.name, model_id), "created_at": now()}


def now() -> str:
    """The time as Ollama writes it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def _reason(reported: AnswerMetadata) -> Literal["stop", "length"]:
    """The reason of an end. A model from outside may have reasons of its own."""
    return "length" if reported["finish_reason"] == "length" else "stop"


def _counts(reported: AnswerMetadata) -> dict[str, int | None]:
    total_ns, load_ns = (_nanoseconds(reported[name]) for name in ("processing_time", "queue_time"))
    return {
        "total_duration": total_ns,
        "load_duration": load_ns,
        "prompt_eval_count": num_seen_tokens(reported),
        "prompt_eval_duration": 0,
        "eval_count": reported["tokens_generated"],
        "eval_duration": total_ns - load_ns,
        "seed": reported["seed"],
        "truncated_prompt_tokens": reported.get("truncated_prompt_tokens", 0),
    }


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


def _logprobs(noted: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    tokens = [{**_alternative(each), "top_logprobs": list(map(_alternative, each["top"]))} for each in noted]
    return {"logprobs": tokens} if tokens else {}


def _alternative(noted: Mapping[str, Any]) -> dict[str, Any]:
    return {name: noted[name] for name in ("token", "logprob", "bytes")}
