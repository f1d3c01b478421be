"""The context window: the part of a long text that the model gets to see, nearest to the gap."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ContextWindow:
    """Given text and gap of one round; len(prefix) + capacity + len(suffix) never exceeds the context length."""

    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    capacity: int
    """New tokens that fit between the two, at most what was wanted."""
    num_truncated: int
    """Tokens of the given text that were left out."""

    @property
    def num_given(self) -> int:
        """Tokens of the given text that the model sees."""
        return len(self.prefix) + len(self.suffix)


def text_room(wanted: int, context_length: int) -> int:
    """Gives the tokens of given text that stay whole beside `wanted` new ones."""
    return context_length - min(wanted, max(context_length // 2, 1))


def fit_window(prefix: tuple[int, ...], suffix: tuple[int, ...], wanted: int, context_length: int) -> ContextWindow:
    """Keeps the given text whole if it can; else new tokens get up to half of the context and the text the rest.

    The end of the prefix and the start of the suffix stay. They share the room evenly, and what one of them does not
    need goes to the other.
    """
    room = context_length - len(prefix) - len(suffix)
    capacity = min(wanted, max(room, context_length // 2, 1))
    text_room = context_length - capacity
    for_suffix = min(len(suffix), max(text_room // 2, text_room - len(prefix)))
    for_prefix = min(len(prefix), text_room - for_suffix)
    kept_prefix, kept_suffix = prefix[len(prefix) - for_prefix :], suffix[:for_suffix]
    return ContextWindow(kept_prefix, kept_suffix, capacity, len(prefix) - for_prefix + len(suffix) - for_suffix)
