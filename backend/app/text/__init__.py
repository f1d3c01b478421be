"""Strings and bytes of text: tokenizer, chat template, prompts, incremental decoding, stop strings and searching.

Nothing here knows of models, tensors, requests or HTTP; text comes in and token ids go out, or the reverse.
"""

from app.text.chat_template import encode_chat, render_chat
from app.text.detokenizer import Detokenizer
from app.text.errors import ChatTemplateError, ConversationRefused, TextError, TokenizerError
from app.text.prompt import PromptIds, continuation, infilling
from app.text.stop import StopStrings
from app.text.tokenizer import Tokenizer

__all__ = [
    "ChatTemplateError",
    "ConversationRefused",
    "Detokenizer",
    "PromptIds",
    "StopStrings",
    "TextError",
    "Tokenizer",
    "TokenizerError",
    "continuation",
    "encode_chat",
    "infilling",
    "render_chat",
]
