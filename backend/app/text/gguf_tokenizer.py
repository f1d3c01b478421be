"""The tokenizer that a GGUF holds: byte-level BPE with the names of its rules.

A file says which tokens there are, which of them are added ones, and the merges. How a text is cut into words it says
by a name, of which two are known here: that of the published LLaDA, and that of Qwen2, which Dream has. Where the
folder has a `tokenizer.json` beside the file, that one is read and none of this.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.formats.gguf import GgufFile, read_header
from app.text.errors import TokenizerError
from app.text.specification import AddedToken, Specification, gpt2_specification, qwen2_specification

_KINDS = {"gpt-2": gpt2_specification, "qwen2": qwen2_specification}
"""Specifications by the names of the ways to cut a text into words."""
_ROLES = {"bos": "bos_token", "eos": "eos_token", "padding": "pad_token", "mask": "mask_token"}
_NORMAL, _CONTROL, _USER_DEFINED, _UNUSED = 1, 3, 4, 5
"""Types of tokens: those of the vocabulary, special ones, other added ones, and names that fill the head's rows."""
_OWN_FLAG = "llada"
"""The architecture whose files always ask for a beginning of text, which its published checkpoints do not."""
_WAY_OUT = "put the checkpoint's tokenizer.json into its folder"


class GgufTokenizer:
    """The tokenizer of one file.

    Raises:
        GgufError: the file is damaged or cut off.
        TokenizerError: it holds no tokenizer, or one that is not read.
    """

    def __init__(self, path: Path) -> None:
        header = read_header(path)
        self._tokens = header.strings("tokenizer.ggml.tokens")
        kinds = header.numbers("tokenizer.ggml.token_type")
        self._kinds = kinds or [_NORMAL] * len(self._tokens)
        self.specification = self._specification_of(header)
        self.role_tokens = dict(self._roles(header))
        asks = header.value("tokenizer.ggml.add_bos_token", bool, False)
        self.adds_bos: bool = asks and header.value("general.architecture", str) != _OWN_FLAG
        self.chat_template: str | None = header.value("tokenizer.chat_template", str)

    def _specification_of(self, header: GgufFile) -> Specification:
        name = header.path.name
        model = header.value("tokenizer.ggml.model", str, "")
        if not self._tokens:
            raise TokenizerError(f"{name} has no tokenizer; {_WAY_OUT}")
        if model != "gpt2":
            raise TokenizerError(f"{name}: tokenizer.ggml.model={model!r} is not read, only gpt2; {_WAY_OUT}")
        words = header.value("tokenizer.ggml.pre", str, "")
        if words not in _KINDS:
            known = " and ".join(_KINDS)
            raise TokenizerError(f"{name}: tokenizer.ggml.pre={words!r} is not read, only {known}; {_WAY_OUT}")
        if len(self._kinds) != len(self._tokens):
            raise TokenizerError(f"{name}: {len(self._tokens)} tokens have {len(self._kinds)} types")
        vocab = {
            token: i for i, token in enumerate(self._tokens) if self._kinds[i] not in (_CONTROL, _UNUSED, _USER_DEFINED)
        }
        merges = [merge.split(" ", 1) for merge in header.strings("tokenizer.ggml.merges")]
        return {**_KINDS[words](vocab, merges), "added_tokens": list(self._added())}

    def _added(self) -> Iterator[AddedToken]:
        flags: dict[str, Any] = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        for index, (token, kind) in enumerate(zip(self._tokens, self._kinds, strict=True)):
            if kind in (_CONTROL, _USER_DEFINED):
                yield {**flags, "content": token, "id": index, "special": kind == _CONTROL}

    def _roles(self, header: GgufFile) -> Iterator[tuple[str, str]]:
        for key, role in _ROLES.items():
            index = header.value(f"tokenizer.ggml.{key}_token_id", int)
            if index is not None and 0 <= index < len(self._tokens):
                yield role, self._tokens[index]
