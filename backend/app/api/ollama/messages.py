"""The turns of a conversation as Ollama's clients send them."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator

from app.api.bodies.unsupported import FIRST_ONLY, AsksForNothing, unsupported
from app.services.diffusion import ChatMessage
from app.services.diffusion.models import MAX_PARTS


class EarlierFunction(AsksForNothing):
    """The function that an earlier answer called."""

    model_config = ConfigDict(extra="ignore", strict=True)

    name: str
    arguments: dict[str, Any] = Field({}, description="JSON.")


class EarlierToolCall(AsksForNothing):
    """A call of a function in an earlier answer."""

    model_config = ConfigDict(extra="ignore", strict=True)

    function: EarlierFunction

    def written(self) -> str:
        """The call as the model sees it, on a line of its own."""
        return json.dumps({"name": self.function.name, "arguments": self.function.arguments}, ensure_ascii=False)


class OllamaMessage(AsksForNothing):
    """A turn. What else clients keep with it, such as `thinking` and `tool_name`, is passed over."""

    model_config = ConfigDict(extra="ignore", strict=True)

    role: Literal["system", "user", "assistant", "tool"]
    content: str = ""
    images: Annotated[Any, unsupported("images")] = None
    tool_calls: Annotated[list[EarlierToolCall], FIRST_ONLY] = Field(
        [],
        max_length=MAX_PARTS,
        description="Of an assistant's turn; the model sees each as a line of JSON behind the content.",
    )

    @field_validator("role", mode="before")
    @classmethod
    def _is_in_lower_case(cls, role: Any) -> Any:
        return role.lower() if isinstance(role, str) else role

    def turn(self) -> ChatMessage:
        """The turn as the service knows it."""
        calls = [call.written() for call in self.tool_calls]
        return ChatMessage(role=self.role, content="\n".join(filter(None, [self.content, *calls])))
