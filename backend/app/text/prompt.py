"""Prompts turn what the user wrote into the token ids on both sides of the gap that the model fills."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.text.chat_template import NO_OPTIONS, encode_chat
from app.text.conversation import Message, fitted
from app.text.errors import ConversationRefused
from app.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class PromptIds:
    """The given ids left and right of the masks; for a continuation the right side is empty.

    `num_prompt_tokens` counts both sides, with beginning- and end-of-text tokens, and the `num_left_out` tokens of a
    conversation that were dropped to fit the context.
    """

    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    num_prompt_tokens: int
    num_left_out: int = 0


def continuation(tokenizer: Tokenizer, text: str, *, bos: bool) -> PromptIds:
    """The ids of a text that the model continues.

    Raises:
        TokenizerError: `bos` is asked for and the tokenizer has none.
        TextError: the text is not valid Unicode.
    """
    return infilling(tokenizer, text, "", bos=bos, eos=False)


def chat(
    tokenizer: Tokenizer,
    messages: Sequence[Mapping[str, str]],
    *,
    room: int | None = None,
    options: Mapping[str, Any] = NO_OPTIONS,
) -> PromptIds:
    """The ids of a conversation, up to where the model's turn begins.

    Args:
        room: the largest number of tokens; a longer conversation loses its oldest turns.
        options: variables of the template that the request sets.

    Raises:
        ChatTemplateError: the checkpoint has no template, or it fails.
        ConversationRefused: the template refuses the messages, or writes nothing of them.
        TextError: a message is not valid Unicode.
    """

    def encode(kept: Sequence[Message]) -> list[int]:
        return encode_chat(tokenizer, kept, add_generation_prompt=True, options=options)

    prompt = conversation(encode, messages, room=room)
    if not prompt.prefix:
        raise ConversationRefused("the chat template writes nothing of these messages")
    return prompt


def conversation(
    encode: Callable[[Sequence[Message]], Sequence[int]], messages: Sequence[Message], *, room: int | None
) -> PromptIds:
    """The ids of a conversation that `encode` writes in its own way; otherwise as `chat`."""
    whole = kept = tuple(encode(messages))
    if room is not None and len(whole) > room:
        kept = tuple(encode(fitted(messages, lambda some: len(encode(some)), room)))
    return PromptIds(prefix=kept, suffix=(), num_prompt_tokens=len(whole), num_left_out=len(whole) - len(kept))


def infilling(tokenizer: Tokenizer, prefix: str, suffix: str, *, bos: bool, eos: bool) -> PromptIds:
    """The ids of the texts around a gap, `bos` in front of the prefix and `eos` after the suffix.

    The two texts are encoded apart, so that the border between tokens falls where the gap is.

    Raises:
        TokenizerError: `bos` or `eos` is asked for and the tokenizer has none.
        TextError: a text is not valid Unicode.
    """
    before = [tokenizer.require("bos")] if bos else []
    return behind_ids(tokenizer, [*before, *tokenizer.encode(prefix)], suffix, eos=eos)


def behind_ids(tokenizer: Tokenizer, left: Sequence[int], suffix: str, *, eos: bool) -> PromptIds:
    """The ids around a gap that begins behind ids which stay as they are; otherwise as `infilling`."""
    after = [tokenizer.require("eos")] if eos else []
    right = (*tokenizer.encode(suffix), *after)
    return PromptIds(prefix=tuple(left), suffix=right, num_prompt_tokens=len(left) + len(right))
