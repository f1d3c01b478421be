"""The turns of a conversation as OpenAI's clients send them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from app.api.bodies.unsupported import FIRST_ONLY, AsksForNothing, Ignored, unsupported
from app.services.diffusion import ChatMessage
from app.services.diffusion.models import MAX_PARTS


class TextPart(AsksForNothing):
    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["text"]
    text: str
    cache_control: Annotated[Any, Ignored()] = None


class EarlierFunction(AsksForNothing):
    """The function that an earlier answer called."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    arguments: str = Field("", description="JSON.")


class EarlierCall(AsksForNothing):
    """A call of a function in an earlier answer."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["function"] = "function"
    function: EarlierFunction
    id: Annotated[Any, Ignored()] = None
    index: Annotated[Any, Ignored()] = None

    def written(self) -> str:
        """The call as the model sees it, on a line of its own."""
        name = json.dumps(self.function.name, ensure_ascii=False)
        return f'{{"name": {name}, "arguments": {self.function.arguments or "{}"}}}'


class Message(AsksForNothing):
    """A turn as clients keep it, with what an answer brought besides its text."""

    model_config = ConfigDict(extra="forbid", strict=True)

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | Annotated[list[TextPart], FIRST_ONLY, Field(max_length=MAX_PARTS)]
    name: Annotated[Any, Ignored()] = None
    refusal: Annotated[Any, unsupported("refusal")] = None
    annotations: Annotated[Any, Ignored()] = None
    audio: Annotated[Any, unsupported("audio")] = None
    function_call: Annotated[Any, unsupported("function_call")] = None
    tool_calls: Annotated[list[EarlierCall], FIRST_ONLY] | None = Field(
        None,
        max_length=MAX_PARTS,
        description="Of an assistant's turn; the model sees each as a line of JSON behind the content.",
    )
    tool_call_id: Annotated[Any, Ignored()] = None
    reasoning: Annotated[Any, Ignored()] = None
    reasoning_content: Annotated[Any, Ignored()] = None
    cache_control: Annotated[Any, Ignored()] = None

    @model_validator(mode="before")
    @classmethod
    def _may_say_nothing(cls, message: Any) -> Any:
        """Reads a missing or `null` content of an assistant as an answer without text."""
        says_nothing = (
            isinstance(message, dict) and message.get("role") == "assistant" and message.get("content") is None
        )
        return {**message, "content": ""} if says_nothing else message

    def turn(self) -> ChatMessage:
        """The turn as the service knows it."""
        return ChatMessage(
            role="system" if self.role == "developer" else self.role, content="\n".join(filter(None, self._lines()))
        )

    def _lines(self) -> Iterator[str]:
        yield self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        for call in self.tool_calls or ():
            yield call.written()
