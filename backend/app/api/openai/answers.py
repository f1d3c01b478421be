"""Answers as OpenAI's clients read them: whole ones, and the chunks of streamed ones."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pydantic import BaseModel, Field

from app.api.openai.calls import CallReader
from app.api.openai.logprobs import ChatLogprobs, TextLogprobs, chat_logprobs, text_logprobs
from app.services.diffusion.metadata import AnswerMetadata, num_seen_tokens

FinishReason = Literal["stop", "length", "tool_calls"]


class Usage(BaseModel):
    """Tokens of a call; of each prompt once."""

    prompt_tokens: int = Field(description="That the model saw.")
    completion_tokens: int
    total_tokens: int
    truncated_prompt_tokens: int = Field(description="Left out, because they did not fit the model's context.")
    truncated_prompt_characters: int = Field(description="Left out before, because a side of a gap has a bound.")


class CalledFunction(BaseModel):
    """A function, and the arguments that it is called with."""

    name: str | None = Field(None, description="In streams in the first chunk alone.")
    arguments: str = Field(description="JSON that is valid by the function's parameters; in chunks a piece of it.")


class ToolCall(BaseModel):
    """A call of a function, or in a chunk the next piece of its arguments."""

    index: int | None = Field(None, description="In chunks.")
    id: str | None = Field(None, description="In streams in the first chunk alone.")
    type: Literal["function"] | None = None
    function: CalledFunction


class AnswerMessage(BaseModel):
    role: Literal["assistant"]
    content: str | None = Field(description="Null where a function is called.")
    tool_calls: list[ToolCall] | None = Field(None, description="Where a function is called: that call.")


class Delta(BaseModel):
    role: Literal["assistant"] | None = None
    content: str | None = None
    tool_calls: list[ToolCall] | None = None


class Choice(BaseModel):
    """A whole answer, or in a chunk the next piece of it."""

    index: int
    text: str | None = Field(None, description="Of completions, and of fill-in-the-middle.")
    message: AnswerMessage | None = Field(None, description="Of whole chat answers, and of fill-in-the-middle.")
    delta: Delta | None = Field(None, description="The same in chunks.")
    logprobs: TextLogprobs | ChatLogprobs | None = None
    finish_reason: FinishReason | None = None
    seed: int | None = Field(None, description="Gives this answer again.")
    stop_reason: str | None = Field(None, description="The stop string that ended it.")


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


def end_of(reported: AnswerMetadata) -> dict[str, Any]:
    """The end of an answer, from its metadata. A model from outside may have reasons of its own."""
    finish_reason = "length" if reported["finish_reason"] == "length" else "stop"
    return {"finish_reason": finish_reason, "seed": reported["seed"], "stop_reason": reported.get("stop_string")}


def usage_of(reported: Mapping[int, AnswerMetadata], num_choices: int, *, num_cut_characters: int = 0) -> Usage:
    """The tokens of all answers, and of each prompt once.

    Args:
        reported: the metadata of each answer that has begun, by its index.
        num_choices: answers to one prompt.
        num_cut_characters: characters of the given text that the service never saw.
    """
    of_prompts = {index // num_choices: metadata for index, metadata in reported.items()}.values()
    num_left_out = sum(metadata.get("truncated_prompt_tokens", 0) for metadata in of_prompts)
    num_seen = sum(map(num_seen_tokens, of_prompts))
    num_new = sum(metadata.get("tokens_generated", 0) for metadata in reported.values())
    return Usage(
        prompt_tokens=num_seen,
        completion_tokens=num_new,
        total_tokens=num_seen + num_new,
        truncated_prompt_tokens=num_left_out,
        truncated_prompt_characters=num_cut_characters,
    )


@dataclass(frozen=True, slots=True)
class Form:
    """The form in which an endpoint writes its answers: as text, as a chat message, or as both."""

    id_prefix: str
    object: Literal["text_completion", "chat.completion"]
    chunk_object: Literal["text_completion", "chat.completion.chunk"]
    has_text: bool
    has_message: bool

    def of_one(self) -> Form:
        """The form for one of several answers, which are written in any mixture."""
        return self

    def whole(self, text: str) -> dict[str, Any]:
        return self._worded(text, message=AnswerMessage(role="assistant", content=text))

    def first(self, text: str) -> dict[str, Any]:
        return self._worded(text, delta=Delta(role="assistant", content=text))

    def piece(self, text: str) -> dict[str, Any]:
        return self._worded(text, delta=Delta(content=text))

    def last(self) -> dict[str, Any]:
        return self._worded("", delta=Delta(content="") if self.has_text else Delta())

    def end(self, reported: AnswerMetadata) -> dict[str, Any]:
        """The end of an answer, from its metadata."""
        return end_of(reported)

    def logprobs(self, reported: Sequence[dict[str, Any]]) -> TextLogprobs | ChatLogprobs:
        return text_logprobs(reported) if self.has_text else chat_logprobs(reported)

    def _worded(self, text: str, **as_message: AnswerMessage | Delta) -> dict[str, Any]:
        return {**({"text": text} if self.has_text else {}), **(as_message if self.has_message else {})}


@dataclass(frozen=True, slots=True)
class CallForm(Form):
    """The form of chat answers that call a function: their text is its arguments."""

    function: str
    is_named: bool
    """Whether the client has named it: the call is then all that it expects, and no reason to finish."""

    def whole(self, text: str) -> dict[str, Any]:
        return _whole_call(CalledFunction(name=self.function, arguments=text))

    def first(self, text: str) -> dict[str, Any]:
        return {"delta": Delta(role="assistant", content=None, tool_calls=[_begun(self.function, text)])}

    def piece(self, text: str) -> dict[str, Any]:
        return {"delta": Delta(tool_calls=[_continued(text)])}

    def end(self, reported: AnswerMetadata) -> dict[str, Any]:
        return end_of(reported) if self.is_named else _end_of_call(reported)


@dataclass(frozen=True, slots=True)
class ChosenCallForm(Form):
    """The form of a chat answer that calls a function of the model's choice: a text `{"name": …, "arguments": …}`."""

    reader: CallReader = field(default_factory=CallReader)

    def of_one(self) -> ChosenCallForm:
        return replace(self, reader=CallReader())

    def whole(self, text: str) -> dict[str, Any]:
        reader = CallReader()
        arguments = reader.read(text)
        return _whole_call(CalledFunction(name=reader.function, arguments=arguments))

    def first(self, text: str) -> dict[str, Any]:
        return {"delta": Delta(role="assistant", content=None)}

    def piece(self, text: str) -> dict[str, Any]:
        was_open = self.reader.function is not None
        arguments = self.reader.read(text)
        if self.reader.function is None or (was_open and not arguments):
            return {"delta": Delta()}
        call = _continued(arguments) if was_open else _begun(self.reader.function, arguments)
        return {"delta": Delta(tool_calls=[call])}

    def end(self, reported: AnswerMetadata) -> dict[str, Any]:
        return _end_of_call(reported)


def _whole_call(function: CalledFunction) -> dict[str, Any]:
    call = ToolCall(id=_call_id(), type="function", function=function)
    return {"message": AnswerMessage(role="assistant", content=None, tool_calls=[call])}


def _begun(function: str, arguments: str) -> ToolCall:
    called = CalledFunction(name=function, arguments=arguments)
    return ToolCall(index=0, id=_call_id(), type="function", function=called)


def _continued(arguments: str) -> ToolCall:
    return ToolCall(index=0, function=CalledFunction(arguments=arguments))


def _end_of_call(reported: AnswerMetadata) -> dict[str, Any]:
    end = end_of(reported)
    return {**end, "finish_reason": "tool_calls"} if end["finish_reason"] == "stop" else end


def _call_id() -> str:
    return f"call_{secrets.token_hex(12)}"


TEXT = Form("cmpl-", "text_completion", "text_completion", has_text=True, has_message=False)
CHAT = Form("chatcmpl-", "chat.completion", "chat.completion.chunk", has_text=False, has_message=True)
FIM = Form("cmpl-", "text_completion", "text_completion", has_text=True, has_message=True)
"""The form for clients of Mercury, which read `text`, and of Mistral, which read `message` and `delta`."""


def calling(function: str | None, *, is_named: bool) -> Form:
    """The form of chat answers that call this function, or without one that which each names itself."""
    common = (CHAT.id_prefix, CHAT.object, CHAT.chunk_object, CHAT.has_text, CHAT.has_message)
    return ChosenCallForm(*common) if function is None else CallForm(*common, function, is_named)
