"""The given text as token ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.services.diffusion.families.base import TextFamily
from app.services.diffusion.models import (
    ChatMessage,
    DiffusionChatParams,
    DiffusionInfillingParams,
    GivenAsIds,
    Params,
)
from app.text.errors import ChatTemplateError, ConversationRefused
from app.text.prompt import PromptIds, behind_ids, chat, continuation, conversation, infilling
from app.text.tokenizer import Tokenizer


def prompt_ids(family: TextFamily, tokenizer: Tokenizer, params: Params, room: int | None = None) -> PromptIds:
    """Gives the text of a request as the family was trained to see it; a conversation as the checkpoint's chat template
    writes it, if it has one.

    Args:
        room: tokens of given text that the model can see; a conversation is made to fit. `None`: there is no end to it.

    Raises:
        ChatTemplateError: the template fails, or, as ConversationRefused, it refuses the conversation.
    """
    bos = begins_with_bos(family, tokenizer)
    if isinstance(params, GivenAsIds):
        suffix = params.suffix if isinstance(params, DiffusionInfillingParams) else ""
        return behind_ids(tokenizer, params.token_ids, suffix, eos=bool(suffix) and family.ends_infillings)
    if isinstance(params, DiffusionInfillingParams):
        return infilling(tokenizer, params.prefix, params.suffix, bos=bos, eos=family.ends_infillings)
    if not isinstance(params, DiffusionChatParams):
        return continuation(tokenizer, params.text, bos=bos)
    messages = [message.model_dump() for message in params.messages]
    if tokenizer.chat_template is not None:
        return _templated(tokenizer, messages, params, room)

    def encode(kept: Sequence[Mapping[str, str]]) -> tuple[int, ...]:
        turns = [ChatMessage.model_validate(message) for message in kept]
        return continuation(tokenizer, params.written(turns), bos=bos).prefix

    return conversation(encode, messages, room=room)


def begins_with_bos(family: TextFamily, tokenizer: Tokenizer) -> bool:
    """Whether a prompt begins with the beginning of text; a chat template writes its own."""
    return family.always_begins or tokenizer.adds_bos


def _templated(
    tokenizer: Tokenizer, messages: Sequence[Mapping[str, str]], params: DiffusionChatParams, room: int | None
) -> PromptIds:
    if not params.tools:
        return chat(tokenizer, messages, room=room, options=params.chat_template_kwargs)
    try:
        return chat(tokenizer, messages, room=room, options={**params.chat_template_kwargs, "tools": params.tools})
    except ConversationRefused:
        raise
    except ChatTemplateError as error:  # it has written a conversation before it was served, and reads what tools hold
        raise ConversationRefused(f"with these tools {error}; describe them in another way") from error
