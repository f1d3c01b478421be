"""The texts of a request as ids and canvases for the engine; made in a worker thread where that may take long."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from app.engine.request.context import text_room
from app.services.diffusion.decisions import DiffusionDecisionParams
from app.services.diffusion.errors import GenerationFailed, InvalidParameters
from app.services.diffusion.likelihood import DiffusionLikelihoodParams
from app.services.diffusion.models import DiffusionChatParams, DiffusionInfillingParams, Params
from app.services.diffusion.native.deciding import Deciding, deciding_of
from app.services.diffusion.native.likelihood import Scoring, scoring_of
from app.services.diffusion.native.loading import Loaded
from app.services.diffusion.native.prompt import prompt_ids
from app.services.diffusion.native.reading import Reading, reading_of
from app.services.diffusion.native.tokens import tokens_of
from app.services.diffusion.reading import DiffusionReadParams
from app.services.diffusion.tokens import Encoding, Tokens
from app.text.chat_template import check_options
from app.text.errors import ChatTemplateError, ConversationRefused, OptionRefused
from app.text.prompt import PromptIds

LONG_TEXT_CHARACTERS = 2_000
"""Longer texts are tokenised in a worker thread, so that the event loop is not held up."""

Made = TypeVar("Made")

logger = logging.getLogger(__name__)


async def composed_prompt(loaded: Loaded, params: Params, model_id: str) -> PromptIds:
    """Gives the ids around the new text.

    Raises:
        InvalidParameters, GenerationFailed: the chat template refuses the conversation, or fails.
    """

    def compose() -> PromptIds:
        room = text_room(params.max_length or 1, loaded.config.context_length)
        return prompt_ids(loaded.family, loaded.tokenizer, params, room)

    # How long a template takes is up to whoever wrote it.
    is_templated = isinstance(params, DiffusionChatParams) and loaded.tokenizer.chat_template is not None
    with _template_errors(model_id, "messages"):
        return await _made(compose, is_long=is_templated or _num_characters(params) > LONG_TEXT_CHARACTERS)


async def composed_tokens(loaded: Loaded, asked: Encoding, model_id: str) -> Tokens:
    """Gives the tokens of a text or of a conversation. Raises as `composed_prompt` does."""
    params = asked.text
    if isinstance(params, DiffusionChatParams):
        check_template_options(loaded, params)
    with _template_errors(model_id, "messages"):
        return await asyncio.to_thread(tokens_of, loaded.family, loaded.tokenizer, asked)


async def composed_reading(loaded: Loaded, params: DiffusionReadParams) -> Reading:
    """Gives the canvases of a text with holes."""

    def compose() -> Reading:
        config = loaded.config
        return reading_of(params, loaded.family, loaded.tokenizer, config.special.mask, config.context_length)

    return await _made(compose, is_long=sum(map(len, params.all_texts)) > LONG_TEXT_CHARACTERS)


async def composed_decision(loaded: Loaded, params: DiffusionDecisionParams, model_id: str) -> Deciding:
    """Gives the canvases of questions in their frame. Raises as `composed_prompt` does."""

    def compose() -> Deciding:
        config = loaded.config
        return deciding_of(params, loaded.family, loaded.tokenizer, config.special.mask, config.context_length)

    is_long = sum(map(len, params.all_texts)) * params.num_orders > LONG_TEXT_CHARACTERS
    with _template_errors(model_id, "state"):
        return await _made(compose, is_long=is_long or loaded.tokenizer.chat_template is not None)


async def composed_scoring(loaded: Loaded, params: DiffusionLikelihoodParams) -> Scoring:
    """Gives the masked samples of texts."""
    return await asyncio.to_thread(scoring_of, params, loaded.family, loaded.tokenizer, loaded.config)


def check_template_options(loaded: Loaded, params: DiffusionChatParams) -> None:
    """Raises InvalidParameters for options that the chat template does not take."""
    try:
        check_options(loaded.tokenizer, params.chat_template_kwargs)
    except OptionRefused as error:
        raise InvalidParameters(f"chat_template_kwargs: {error}", field="chat_template_kwargs") from error


async def _made(make: Callable[[], Made], *, is_long: bool) -> Made:
    return await asyncio.to_thread(make) if is_long else make()


@contextmanager
def _template_errors(model_id: str, field: str) -> Iterator[None]:
    """Turns errors of a chat template into those of the service; `field` holds what it refuses."""
    try:
        yield
    except ConversationRefused as error:
        raise InvalidParameters(f"{field}: {error}", field=field) from error
    except ChatTemplateError as error:
        logger.error("model %r cannot chat: %s", model_id, error)
        raise GenerationFailed(f"the chat template of model {model_id!r} failed; the server's log says why") from error


def _num_characters(params: Params) -> int:
    if isinstance(params, DiffusionInfillingParams):
        return len(params.prefix) + len(params.suffix)
    return len(params.text)
