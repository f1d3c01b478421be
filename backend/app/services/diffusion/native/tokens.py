"""Texts as the tokens of a checkpoint, and back."""

from __future__ import annotations

from collections.abc import Sequence

from app.services.diffusion.families.base import TextFamily
from app.services.diffusion.models import DiffusionChatParams
from app.services.diffusion.native.prompt import begins_with_bos, prompt_ids
from app.services.diffusion.tokens import Encoding, TokenizerFacts, Tokens
from app.text.prompt import continuation
from app.text.tokenizer import Tokenizer


def tokens_of(family: TextFamily, tokenizer: Tokenizer, asked: Encoding) -> Tokens:
    """Gives the tokens of a text as it is, or of a conversation, however long it is. Raises as `prompt_ids` does."""
    ids = tuple(_ids(family, tokenizer, asked))
    if not asked.is_detailed:
        return Tokens(ids)
    return Tokens(ids, tuple(map(tokenizer.token, ids)), tuple(_piece(tokenizer, token_id) for token_id in ids))


def tokenizer_facts(family: TextFamily, tokenizer: Tokenizer) -> TokenizerFacts:
    """Gives what there is to know of a tokenizer without its vocabulary."""
    return TokenizerFacts(
        vocab_size=tokenizer.vocab_size,
        begins=begins_with_bos(family, tokenizer),
        role_tokens=dict(tokenizer.role_tokens),
        chat_template=tokenizer.chat_template,
    )


def _ids(family: TextFamily, tokenizer: Tokenizer, asked: Encoding) -> Sequence[int]:
    if isinstance(asked.text, DiffusionChatParams):
        return prompt_ids(family, tokenizer, asked.text).prefix
    bos = asked.begins and begins_with_bos(family, tokenizer)
    if not asked.parses_special:
        return continuation(tokenizer, asked.text, bos=bos).prefix
    return [*([tokenizer.require("bos")] if bos else ()), *tokenizer.encode(asked.text, parse_special=True)]


def _piece(tokenizer: Tokenizer, token_id: int) -> bytes:
    if tokenizer.is_byte_level:
        return tokenizer.decode_bytes([token_id], skip_special=False)
    return tokenizer.token_text(token_id).encode()
