"""What the user wrote to the token ids on both sides of the gap that the model fills."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.text.chat_template import encode_chat
from app.text.errors import ConversationRefused
from app.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class PromptIds:
    """The given ids left and right of the masks; for a continuation the right side is empty.

    `num_prompt_tokens` counts both sides, with beginning- and end-of-text tokens.
    """

    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    num_prompt_tokens: int


def continuation(tokenizer: Tokenizer, text: str, *, bos: bool) -> PromptIds:
    """The ids of a text that the model continues.

    Raises:
        TokenizerError: `bos` is asked for and the tokenizer has none.
        TextError: the text is not valid Unicode.
    """
    return infilling(tokenizer, text, "", bos=bos, eos=False)


def chat(tokenizer: Tokenizer, messages: Sequence[Mapping[str, str]]) -> PromptIds:
    """The ids of a conversation, up to where the model's turn begins.

    Raises:
        ChatTemplateError: the checkpoint has no template, or it fails.
        ConversationRefused: the template refuses the messages, or writes nothing of them.
        TextError: a message is not valid Unicode.
    """
    ids = tuple(encode_chat(tokenizer, messages, add_generation_prompt=True))
    if not ids:
        raise ConversationRefused("the chat template writes nothing of these messages")
    return PromptIds(prefix=ids, suffix=(), num_prompt_tokens=len(ids))


def infilling(tokenizer: Tokenizer, prefix: str, suffix: str, *, bos: bool, eos: bool) -> PromptIds:
    """The ids of the texts around a gap, `bos` in front of the prefix and `eos` after the suffix.

    The two texts are encoded apart, so that the border between tokens falls where the gap is.

    Raises:
        TokenizerError: `bos` or `eos` is asked for and the tokenizer has none.
        TextError: a text is not valid Unicode.
    """
    before = [tokenizer.require("bos")] if bos else []
    after = [tokenizer.require("eos")] if eos else []
    left = (*before, *tokenizer.encode(prefix))
    right = (*tokenizer.encode(suffix), *after)
    return PromptIds(prefix=left, suffix=right, num_prompt_tokens=len(left) + len(right))
