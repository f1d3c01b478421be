"""What OpenAI's clients get: whole answers, and the chunks of streamed ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, Field

from app.api.openai.logprobs import ChatLogprobs, TextLogprobs, chat_logprobs, text_logprobs

FinishReason = Literal["stop", "length"]


class Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class AnswerMessage(BaseModel):
    role: Literal["assistant"]
    content: str


class Delta(BaseModel):
    role: Literal["assistant"] | None = None
    content: str | None = None


class Choice(BaseModel):
    """A whole answer, or in a chunk the next piece of it."""

    index: int
    text: str | None = Field(None, description="Of completions, and of fill-in-the-middle.")
    message: AnswerMessage | None = Field(None, description="Of whole chat answers, and of fill-in-the-middle.")
    delta: Delta | None = Field(None, description="The same in chunks.")
    logprobs: TextLogprobs | ChatLogprobs | None = None
    finish_reason: FinishReason | None = None
    seed: int | None = Field(None, description="Gives this answer again.")


class Completion(BaseModel):
    """An answer, or a chunk of one."""

    id: str
    object: Literal["text_completion", "chat.completion", "chat.completion.chunk"]
    created: int = Field(description="Seconds since 1970-01-01 UTC.")
    model: str = Field(description="The model that really answers.")
    choices: list[Choice]
    usage: Usage | None = None
    diffusion: dict[str, Any] | None = Field(
        None, description="In events named `diffusion.step`: the canvas after a step, and the index of its choice."
    )


def end_of(told: dict[str, Any]) -> dict[str, Any]:
    """How an answer ended, from what the service told of it. A model of one's own may have reasons of its own."""
    return {"finish_reason": "length" if told["finish_reason"] == "length" else "stop", "seed": told["seed"]}


def usage_of(metadata: Sequence[dict[str, Any]], num_choices: int) -> Usage:
    """Tokens of all answers, and of each prompt once, from what the service told of each answer."""
    num_prompt_tokens = sum(told["prompt_tokens"] or 0 for told in metadata[::num_choices])
    num_new_tokens = sum(told["tokens_generated"] for told in metadata)
    return Usage(
        prompt_tokens=num_prompt_tokens,
        completion_tokens=num_new_tokens,
        total_tokens=num_prompt_tokens + num_new_tokens,
    )


@dataclass(frozen=True, slots=True)
class Form:
    """How an endpoint words its answers: as text, as a chat message, or as both."""

    id_prefix: str
    object: Literal["text_completion", "chat.completion"]
    chunk_object: Literal["text_completion", "chat.completion.chunk"]
    has_text: bool
    has_message: bool

    def whole(self, text: str) -> dict[str, Any]:
        return self._worded(text, message=AnswerMessage(role="assistant", content=text))

    def first(self, text: str) -> dict[str, Any]:
        return self._worded(text, delta=Delta(role="assistant", content=text))

    def piece(self, text: str) -> dict[str, Any]:
        return self._worded(text, delta=Delta(content=text))

    def last(self) -> dict[str, Any]:
        return self._worded("", delta=Delta(content="") if self.has_text else Delta())

    def logprobs(self, told: Sequence[dict[str, Any]]) -> TextLogprobs | ChatLogprobs | None:
        if not told:
            return None
        return text_logprobs(told) if self.has_text else chat_logprobs(told)

    def _worded(self, text: str, **as_message: AnswerMessage | Delta) -> dict[str, Any]:
        return {**({"text": text} if self.has_text else {}), **(as_message if self.has_message else {})}


TEXT = Form("cmpl-", "text_completion", "text_completion", has_text=True, has_message=False)
CHAT = Form("chatcmpl-", "chat.completion", "chat.completion.chunk", has_text=False, has_message=True)
FIM = Form("cmpl-", "text_completion", "text_completion", has_text=True, has_message=True)
"""Mercury's clients read `text`, and Mistral's `message` and `delta`."""
