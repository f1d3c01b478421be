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
    candidates = _without_oldest_turns(messages)
    first_that_fits = bisect_left(range(len(candidates)), True, key=lambda index: count(candidates[index]) <= room)
    if first_that_fits < len(candidates):
        return candidates[first_that_fits]
    return _shortened(candidates[-1], count, room)


def _without_oldest_turns(messages: Sequence[Message]) -> list[list[Message]]:
    """The whole conversation, then the conversation with one oldest turn less each, down to the newest turn."""
    starts = [index for index, message in enumerate(messages) if message["role"] == "user"]
    starts = starts or [index for index, message in enumerate(messages) if message["role"] != "system"][-1:]
    return [
        [message for index, message in enumerate(messages) if index >= start or message["role"] == "system"]
        for start in (0, *starts)
    ]


def _shortened(messages: list[Message], count: Count, room: int) -> list[Message]:
    system = [index for index, message in enumerate(messages) if message["role"] == "system"]
    others = [index for index in range(len(messages)) if index not in system]
    shorter = list(messages)
    for index in system:
        shorter = _cut(shorter, index, lambda cut: count(_emptied(cut, others)) <= room // 2)
    for index in others:
        shorter = _cut(shorter, index, lambda cut: count(cut) <= room)
    return shorter


def _cut(messages: list[Message], index: int, fits: Callable[[list[Message]], bool]) -> list[Message]:
    """The messages with one of them cut from the left until `fits`; it is cut to nothing if that is not enough."""
    content = messages[index]["content"]

    def without(num_characters: int) -> list[Message]:
        shorter = {**messages[index], "content": content[num_characters:]}
        return [*messages[:index], shorter, *messages[index + 1 :]]

    return without(bisect_left(range(len(content)), True, key=lambda num_characters: fits(without(num_characters))))


def _emptied(messages: list[Message], indices: Sequence[int]) -> list[Message]:
    return [{**message, "content": ""} if index in indices else message for index, message in enumerate(messages)]
