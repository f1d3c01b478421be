"""Texts as the tokens of one model, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from app.services.diffusion.models import DiffusionChatParams

TokenizerMethod = Literal["encode", "decode", "describe_tokenizer"]
"""The methods of a model that are about its tokens."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """A text that is to become tokens; a conversation is one as the model sees it.

    Attributes:
        begins: whether the beginning of text stands before it, where a prompt of this model has one.
        parses_special: whether special tokens that the text spells become their ids, as they never do in a prompt.
        is_detailed: whether more than the ids is asked for, which takes three times as long.
    """

    text: str | DiffusionChatParams
    begins: bool = False
    parses_special: bool = False
    is_detailed: bool = False


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of a text: their ids, and where they are asked for, the entries in the vocabulary and the bytes of
    each."""

    ids: tuple[int, ...]
    entries: tuple[str, ...] = ()
    pieces: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class TokenizerFacts:
    """The facts about a model's tokenizer that clients ask for.

    Attributes:
        vocab_size: the highest id plus one.
        begins: whether a prompt of this model begins with the beginning of text.
        role_tokens: the text of `bos_token`, `eos_token` and so on.
    """

    vocab_size: int
    begins: bool
    role_tokens: Mapping[str, str]
    chat_template: str | None
