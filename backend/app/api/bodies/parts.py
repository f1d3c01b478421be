"""Counts the parts of a conversation before it looks at any of them.

Each message has a bound of its own. But a body has room for so many parts of all messages together that reading them
would hold up everybody else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from app.services.diffusion.models import MAX_CONVERSATION_PARTS

_LISTS = ("content", "tool_calls")


def few_parts(messages: Any) -> Any:
    """A validator of `messages` that comes before their own: refuses more parts of texts and earlier calls together."""
    count = sum(_lengths(messages)) if isinstance(messages, list) else 0
    if count > MAX_CONVERSATION_PARTS:
        raise ValueError(
            f"messages has {count} parts and tool_calls, more than the maximum of {MAX_CONVERSATION_PARTS} together"
        )
    return messages


def _lengths(messages: list[Any]) -> Iterator[int]:
    for message in messages:
        if isinstance(message, dict):
            yield from (len(message[name]) for name in _LISTS if isinstance(message.get(name), list))
