"""Incremental decoding turns final token ids into text without ever splitting a character."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from typing import Protocol

from app.text.tokenizer import Tokenizer

_BYTE_TOKEN = re.compile(r"<0x[0-9A-Fa-f]{2}>")


class _Stream(Protocol):
    def feed(self, ids: Sequence[int]) -> str: ...

    def flush(self) -> str: ...


class Detokenizer:
    """Decodes one sequence as it grows.

    The outputs of `feed` and `flush`, joined, equal `tokenizer.decode` of all ids, however the ids were
    split. Bytes that may still become a character are held back until they do, or until `flush`.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._stream: _Stream = _ByteStream(tokenizer) if tokenizer.is_byte_level else _WindowStream(tokenizer)

    def feed(self, ids: Sequence[int]) -> str:
        """The text that these further ids complete; it may be empty."""
        return self._stream.feed(ids)

    def flush(self) -> str:
        """The text that was held back; call it at the end of the sequence."""
        return self._stream.flush()


class _ByteStream:
    """A stream of byte-level tokens; Python's UTF-8 decoder holds the unfinished character."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, ids: Sequence[int]) -> str:
        return self._utf8.decode(self._tokenizer.decode_bytes(ids))

    def flush(self) -> str:
        return self._utf8.decode(b"", final=True)


class _WindowStream:
    """A stream of other tokens: decodes the new ids together with the previous ones, and gives the difference.

    The previous ids are needed because a decoder may treat the first token of a text differently. A run of
    byte tokens (`<0xE6>`) waits for its end: one wrong byte in it turns all of it into U+FFFD.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._context: list[int] = []
        self._open: list[int] = []

    def feed(self, ids: Sequence[int]) -> str:
        self._open += [token_id for token_id in ids if not self._tokenizer.is_hidden(token_id)]
        if not self._open or _BYTE_TOKEN.fullmatch(self._tokenizer.token(self._open[-1])):
            return ""
        return self.flush()

    def flush(self) -> str:
        before = self._tokenizer.decode(self._context)
        text = self._tokenizer.decode(self._context + self._open)[len(before) :]
        # Tokens without text do not make the next one any less the first.
        self._context = self._open if text else self._context + self._open
        self._open = []
        return text
