"""The tokenizer's files complete a config that leaves things out: the mask's id, and the ids that no token has.

No tokenizer is built: the files are read as the JSON that they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.engine.families.checkpoint_files import read_json
from app.engine.interface.errors import CheckpointError
from app.engine.models.fields import MAX_SIZE

_TOKENIZER, _VOCABULARY, _ADDED = "tokenizer.json", "vocab.json", "added_tokens.json"
_CONFIG, _SPECIAL = "tokenizer_config.json", "special_tokens_map.json"


@dataclass(frozen=True, slots=True)
class TokenizerCompletion:
    """Completes a config by the tokenizer's files beside it."""

    mask_text: str
    """The mask token's text, where the tokenizer gives no token that role."""

    def complete(self, raw: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        """Gives the config with `mask_token_id`, which is the tokenizer's mask unless the config names one, and with
        `unusable_token_ids`: rows of the head without a token. There are none where no file lists tokens.

        Raises:
            CheckpointError: no file says which token is the mask, or one is damaged.
        """
        tokens = token_ids(folder)
        mask = raw.get("mask_token_id")
        mask = self._mask(tokens, folder) if mask is None else mask
        return {**raw, "mask_token_id": mask, "unusable_token_ids": _without_token(raw.get("vocab_size"), tokens)}

    def _mask(self, tokens: Mapping[str, int], folder: Path) -> int:
        for file in (_CONFIG, _SPECIAL):
            text = _text(_read(folder, file).get("mask_token"))
            if text is not None and text not in tokens:
                raise CheckpointError(
                    f"{file}: mask_token={text!r} has no id in {_TOKENIZER}, {_VOCABULARY}, {_ADDED} or {_CONFIG}; "
                    "add the token to one of them"
                )
            if text is not None:
                return tokens[text]
        if self.mask_text in tokens:
            return tokens[self.mask_text]
        raise CheckpointError(
            f"config.json lacks 'mask_token_id', and no file of the tokenizer says it: {_CONFIG} or {_SPECIAL} has no "
            f"'mask_token', and no token is {self.mask_text!r}; name the mask as mask_token in {_CONFIG}"
        )


def token_ids(folder: Path) -> dict[str, int]:
    """Gives the id of each token by its text, from all tokenizer files that are there.

    Raises:
        CheckpointError: a file is damaged.
    """
    tokenizer, found = _read(folder, _TOKENIZER), dict[str, Any]()
    model = _object(tokenizer.get("model"), _TOKENIZER, "model")
    vocabulary = model.get("vocab", _read(folder, _VOCABULARY))
    if isinstance(vocabulary, list):  # pieces with their scores, in the order of their ids
        vocabulary = {
            str(piece[0]): index for index, piece in enumerate(vocabulary) if isinstance(piece, list) and piece
        }
    found |= _object(vocabulary, _TOKENIZER, "model.vocab")
    found |= _read(folder, _ADDED)
    decoder = _object(_read(folder, _CONFIG).get("added_tokens_decoder"), _CONFIG, "added_tokens_decoder")
    found |= {str(_text(token)): int(index) for index, token in decoder.items() if index.isdecimal()}
    added = tokenizer.get("added_tokens")
    found |= {str(_text(token)): token.get("id") for token in _objects(added)}
    return {text: index for text, index in found.items() if isinstance(index, int)}


def _without_token(vocab_size: Any, tokens: Mapping[str, int]) -> list[int]:
    """Gives the ids below the vocabulary's size that no token has. Tokens 0, 1 and 3 of 6: 2, 4 and 5."""
    if not tokens or not isinstance(vocab_size, int):
        return []
    used = set(tokens.values())
    return [index for index in range(min(vocab_size, MAX_SIZE)) if index not in used]


def _read(folder: Path, name: str) -> dict[str, Any]:
    return read_json(folder / name) if (folder / name).exists() else {}


def _object(value: Any, file: str, key: str) -> dict[str, Any]:
    if value is not None and not isinstance(value, dict):
        raise CheckpointError(f"{file}: {key} must be a JSON object")
    return value or {}


def _objects(values: Any) -> Iterable[dict[str, Any]]:
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []


def _text(token: Any) -> str | None:
    """A token's text, which stands alone or under `content`."""
    token = token.get("content") if isinstance(token, dict) else token
    return token if isinstance(token, str) else None
