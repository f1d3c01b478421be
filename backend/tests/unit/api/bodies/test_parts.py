"""The parts of all messages of a conversation together."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from app.api.ollama.requests import OllamaChatRequest
from app.api.openai.requests import ChatRequest
from app.api.openai.tokens import TokenizeRequest
from app.services.diffusion.models import MAX_CONVERSATION_PARTS, MAX_PARTS

NUM_FULL = MAX_CONVERSATION_PARTS // MAX_PARTS
TEXTS = {"role": "user", "content": [{"type": "text", "text": "a"}] * MAX_PARTS}
CALLS = {"role": "assistant", "content": "a", "tool_calls": [{"function": {"name": "f"}}] * MAX_PARTS}


@pytest.mark.parametrize(
    ("model", "message"),
    [(ChatRequest, TEXTS), (ChatRequest, CALLS), (TokenizeRequest, TEXTS), (OllamaChatRequest, CALLS)],
)
def test_a_conversation_has_a_bound_of_parts(model: type[BaseModel], message: dict[str, Any]) -> None:
    model.model_validate({"messages": [message] * NUM_FULL})
    refused = f"messages has {(NUM_FULL + 1) * MAX_PARTS} parts and tool_calls, more than the maximum of 4096 together"
    with pytest.raises(ValidationError, match=refused) as caught:
        model.model_validate({"messages": [message] * (NUM_FULL + 1)})
    assert [error["loc"] for error in caught.value.errors()] == [("messages",)]


def test_what_is_no_conversation_is_left_to_its_own_complaint() -> None:
    for messages in ("a", [5], [{"role": "user", "content": 7}]):
        with pytest.raises(ValidationError, match="messages"):
            ChatRequest.model_validate({"messages": messages})
