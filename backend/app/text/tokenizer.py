"""The tokenizer of one checkpoint turns text into token ids and back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

import tokenizers

from app.text.byte_level import REQUIRED_CHARACTERS, token_to_bytes
from app.text.errors import TextError, TokenizerError
from app.text.specification import Specification, is_byte_level, text_only
from app.text.tokenizer_files import TokenizerFiles, read_tokenizer_files

# Names that the families agree on where no file assigns the role.
_MASK_NAMES = ("<|mdm_mask|>", "<|mask|>", "<|MASK|>", "|<MASK>|", "<[MASK_TOKEN]>", "<[MASK]>")
_END_OF_TURN_NAMES = ("<|eot_id|>", "<|im_end|>")
_EXPAND_NAME = "<|expand|>"


class Tokenizer:
    """The tokenizer of one checkpoint; immutable, and safe to use from several threads at once.

    A user's words are text: unless asked, `encode` gives no id of an added token, whatever the text
    spells. Ids that the tokenizer does not know decode to nothing, as a model's head may be wider.
    """

    def __init__(self, files: TokenizerFiles) -> None:
        self._files = files
        self._full = _build(files.specification, files.source)
        # A second instance without added tokens: the only way that no text can reach one of them.
        self._plain = _build(text_only(files.specification), files.source)
        added = files.specification["added_tokens"]
        self.special_tokens: Mapping[str, int] = MappingProxyType({t["content"]: t["id"] for t in added})
        self._names = {token_id: name for name, token_id in self.special_tokens.items()}
        self._hidden_ids = frozenset(token["id"] for token in added if token["special"])
        self._require_agreeing_ids()
        vocab = self._full.get_vocab(with_added_tokens=True)
        # The highest id plus one: the width that an embedding needs at least.
        self.vocab_size = max(vocab.values(), default=-1) + 1
        self.is_byte_level = is_byte_level(files.specification)
        self._bytes = self._byte_table(vocab) if self.is_byte_level else {}

    @classmethod
    def load(cls, folder: Path) -> Tokenizer:
        """The tokenizer in a checkpoint folder.

        `tokenizer.json` is used where there is one; otherwise `vocab.json` and `merges.txt` give the same.

        Raises:
            TokenizerError: a file is missing, too large, damaged or contradicts another; it is named.
        """
        return cls(read_tokenizer_files(folder))

    @property
    def bos_id(self) -> int | None:
        return self._role_id("bos_token")

    @property
    def eos_id(self) -> int | None:
        return self._role_id("eos_token")

    @property
    def pad_id(self) -> int | None:
        return self._role_id("pad_token")

    @property
    def mask_id(self) -> int | None:
        assigned = self._role_id("mask_token")
        return assigned if assigned is not None else self._first_of(_MASK_NAMES)

    @property
    def end_of_turn_id(self) -> int | None:
        """The token that ends a chat message, where the family has one."""
        return self._first_of(_END_OF_TURN_NAMES)

    @property
    def markers(self) -> tuple[str, ...]:
        """The names of tokens that stand for no text: end of text, padding, and the borders of a gap or of a turn."""
        roles = {self._role_id(role) for role in self.role_tokens}
        return tuple(
            name
            for name, token_id in self.special_tokens.items()
            if token_id in self._hidden_ids or token_id in roles or "fim" in name
        )

    @property
    def adds_bos(self) -> bool:
        """Whether the checkpoint asks for a beginning-of-text token in front of every prompt."""
        return self._files.adds_bos

    @property
    def chat_template(self) -> str | None:
        """The Jinja source of the default chat template."""
        return self._files.chat_template

    @property
    def role_tokens(self) -> Mapping[str, str]:
        """The text of `bos_token`, `eos_token` and so on, as chat templates use them."""
        return self._files.role_tokens

    def require(self, role: str) -> int:
        """The id of `bos`, `eos`, `pad`, `mask` or `end_of_turn`.

        Raises:
            TokenizerError: this tokenizer has no such token.
        """
        ids = {
            "bos": self.bos_id,
            "eos": self.eos_id,
            "pad": self.pad_id,
            "mask": self.mask_id,
            "end_of_turn": self.end_of_turn_id,
        }
        token_id = ids.get(role)
        if token_id is None:
            name = self.role_tokens.get(f"{role}_token")
            named = f" ({name!r} is named, but has no id)" if name else ""
            raise TokenizerError(f"{self._files.source}: the tokenizer has no {role} token{named}")
        return token_id

    def check_ids(self, *, vocab_size: int, mask: int, eos: int, expand: int | None = None) -> None:
        """Compares the ids in a model's config with the tokenizer's, so that a mixed-up folder is refused.

        Raises:
            TokenizerError: they disagree; both values are named.
        """
        source = self._files.source
        if self.vocab_size > vocab_size:
            raise TokenizerError(
                f"{source}: ids go up to {self.vocab_size - 1}, but the model's vocab_size is {vocab_size}"
            )
        if self.require("mask") != mask:
            raise TokenizerError(f"{source}: the mask token is {self.mask_id}, but the model's is {mask}")
        # Chat checkpoints may stop at another special token than the one the tokenizer calls eos.
        if eos not in self._names:
            raise TokenizerError(
                f"{source}: the model's eos {eos} is not a special token; the tokenizer's eos is {self.eos_id}"
            )
        own_expand = self.special_tokens.get(_EXPAND_NAME)
        if expand is not None and expand != own_expand:
            raise TokenizerError(f"{source}: {_EXPAND_NAME} is {own_expand}, but the model's is {expand}")

    def encode(self, text: str, *, parse_special: bool = False) -> list[int]:
        """The ids of a text; no beginning- or end-of-text token is added.

        By default an added token spelled in the text, such as `<|endoftext|>`, is encoded as the
        characters it consists of. With `parse_special` it becomes its id: for trusted text only.

        Raises:
            TextError: the text holds a lone surrogate, so it is not valid Unicode.
        """
        _require_unicode(text)
        library = self._full if parse_special else self._plain
        return library.encode(text, add_special_tokens=False).ids

    def special_spans(self, text: str) -> list[tuple[int, int, int]]:
        """The spans of added tokens in a text: start, stop and id of each.

        Raises:
            TextError: the text holds a lone surrogate.
        """
        _require_unicode(text)
        encoding = self._full.encode(text, add_special_tokens=False)
        placed = zip(encoding.ids, encoding.offsets, strict=True)
        return [(start, stop, token_id) for token_id, (start, stop) in placed if token_id in self._names]

    def decode(self, ids: Iterable[int], *, skip_special: bool = True) -> str:
        """The text of a sequence of ids; bytes that form no character become U+FFFD."""
        if self.is_byte_level:
            return self.decode_bytes(ids, skip_special=skip_special).decode("utf-8", errors="replace")
        return self._full.decode(list(ids), skip_special_tokens=skip_special)

    def decode_bytes(self, ids: Iterable[int], *, skip_special: bool = True) -> bytes:
        """The bytes of a sequence of ids, where `is_byte_level`; they may end inside a character."""
        hidden = self._hidden_ids if skip_special else frozenset()
        return b"".join(self._bytes.get(token_id, b"") for token_id in ids if token_id not in hidden)

    def bytes_of_text(self, token_id: int) -> bytes | None:
        """The bytes that an id stands for in a text, where `is_byte_level`; `None` for added and unknown ids."""
        return None if token_id in self._names else self._bytes.get(token_id)

    def is_hidden(self, token_id: int) -> bool:
        """Whether `decode` skips this id."""
        return token_id in self._hidden_ids

    def token(self, token_id: int) -> str:
        """The vocabulary entry of an id as the files write it; empty for an unknown id."""
        return self._full.id_to_token(token_id) or ""

    def token_text(self, token_id: int) -> str:
        """The text of one id alone; a special token gives its name, part of a character U+FFFD."""
        name = self._names.get(token_id)
        return name if name is not None else self.decode([token_id], skip_special=False)

    def _role_id(self, role: str) -> int | None:
        name = self.role_tokens.get(role)
        return None if name is None else self._full.token_to_id(name)

    def _first_of(self, names: Iterable[str]) -> int | None:
        return next((self.special_tokens[name] for name in names if name in self.special_tokens), None)

    def _require_agreeing_ids(self) -> None:
        for name, declared in self.special_tokens.items():
            actual = self._full.token_to_id(name)
            if actual != declared:
                raise TokenizerError(
                    f"{self._files.source}: added token {name!r} has the id {declared}, "
                    f"but the vocabulary gives it {actual}"
                )

    def _byte_table(self, vocab: Mapping[str, int]) -> dict[int, bytes]:
        missing = REQUIRED_CHARACTERS - vocab.keys()
        if missing:
            raise TokenizerError(
                f"{self._files.source}: the byte-level vocabulary lacks {len(missing)} byte(s), "
                f"such as {min(missing)!r}, so it cannot write every text"
            )
        table = {token_id: token_to_bytes(token) for token, token_id in vocab.items()}
        return table | {token_id: name.encode() for name, token_id in self.special_tokens.items()}


def _build(specification: Specification, source: str) -> tokenizers.Tokenizer:
    try:
        library = tokenizers.Tokenizer.from_str(json.dumps(specification))
    except BaseException as error:  # the library raises nothing more precise
        if not isinstance(error, Exception) and not _is_panic(error):
            raise
        raise TokenizerError(f"{source}: the tokenizers library refuses it: {error}") from error
    library.no_truncation()
    library.no_padding()
    return library


def _is_panic(error: BaseException) -> bool:
    """Whether the library met a defect of its own; its panics are no `Exception`, and their class is hidden."""
    return type(error).__name__ == "PanicException"


def _require_unicode(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise TextError(
            f"the text holds a lone surrogate (U+{ord(text[error.start]):04X}) at character {error.start}; "
            "send valid Unicode"
        ) from error
