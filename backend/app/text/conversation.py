"""Shortens a long conversation to the model's context: system messages and the newest turns stay."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

Message: TypeAlias = Mapping[str, str]
Count: TypeAlias = Callable[[Sequence[Message]], int]


def fitted(messages: Sequence[Message], count: Count, room: int) -> list[Message]:
    """The messages that fit `room` tokens; whole turns are dropped, the oldest first.

    A turn begins with a user's message, so the result begins with one too. System messages and the newest turn stay.
    Where these do not fit, their contents are cut from the left, the oldest first; system messages are cut only where
    they alone take more than half of the room.

    Args:
        count: the number of tokens of a conversation, including those of its template.
    """
    starts = _starts(messages)
    first_that_fits = bisect_left(
        range(len(starts)), True, key=lambda index: count(_since(messages, starts[index])) <= room
    )
    if first_that_fits < len(starts):
        return _since(messages, starts[first_that_fits])
    return _shortened(_since(messages, starts[-1]), count, room)


def _starts(messages: Sequence[Message]) -> list[int]:
    """The indices from which on a conversation may be kept: the beginning, then that of each turn."""
    starts = [index for index, message in enumerate(messages) if message["role"] == "user"]
    return [0, *(starts or [index for index, message in enumerate(messages) if message["role"] != "system"][-1:])]


def _since(messages: Sequence[Message], start: int) -> list[Message]:
    """The messages from `start` on, and the system messages before it."""
    return [message for index, message in enumerate(messages) if index >= start or message["role"] == "system"]


def _shortened(messages: list[Message], count: Count, room: int) -> list[Message]:
    system = [index for index, message in enumerate(messages) if message["role"] == "system"]
    others = [index for index in range(len(messages)) if messages[index]["role"] != "system"]
    shorter = _cut(messages, system, lambda cut: count(_emptied(cut, others)) <= room // 2)
    return _cut(shorter, others, lambda cut: count(cut) <= room)


def _cut(messages: list[Message], indices: Sequence[int], fits: Callable[[list[Message]], bool]) -> list[Message]:
    """The messages without the first characters of those at `indices`, as few as it takes until `fits`: the first of
    them is empty before the next one is cut. All are emptied if that is not enough."""
    num_characters = sum(len(messages[index]["content"]) for index in indices)

    def without(num_left_out: int) -> list[Message]:
        shorter = list(messages)
        for index in indices:
            content = messages[index]["content"]
            shorter[index] = {**messages[index], "content": content[num_left_out:]}
            num_left_out = max(0, num_left_out - len(content))
        return shorter

    return without(bisect_left(range(num_characters), True, key=lambda number: fits(without(number))))


def _emptied(messages: list[Message], indices: Sequence[int]) -> list[Message]:
    emptied = set(indices)
    return [{**message, "content": ""} if index in emptied else message for index, message in enumerate(messages)]
