"""Reads the tokenizer files of a checkpoint folder into one description.

Only files of fixed names directly in the folder are opened; nothing that a file says leads to another one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from app.formats.gguf import gguf_file
from app.text.errors import TokenizerError
from app.text.gguf_tokenizer import GgufTokenizer
from app.text.specification import (
    AddedToken,
    Specification,
    parse_merges,
    qwen2_specification,
    with_added_tokens,
)
from app.text.template_files import read_chat_template

_FILE_LIMIT_BYTES = 64 * 2**20
_ADDITIONAL = ("additional_special_tokens", "extra_special_tokens")
"""The names that transformers 4 and 5 give to one and the same list."""
_ROLES = ("bos_token", "eos_token", "pad_token", "mask_token", "unk_token", "sep_token", "cls_token")


@dataclass(frozen=True, slots=True)
class TokenizerFiles:
    """The description of one tokenizer, from all of its files.

    `specification` holds every added token of every file. `role_tokens` maps `bos_token` and the like to
    their text. `source` names the file with the vocabulary, for messages.
    """

    source: str
    specification: Specification
    role_tokens: Mapping[str, str]
    adds_bos: bool
    chat_template: str | None


def read_tokenizer_files(folder: Path) -> TokenizerFiles:
    """Reads `tokenizer.json`, or `vocab.json` and `merges.txt`, and the smaller files where they exist; or a GGUF
    without such files beside it.

    Raises:
        TokenizerError: a file is missing, too large or damaged, or files contradict each other.
    """
    if (gguf := _lone_gguf(folder)) is not None:
        return _read_gguf(gguf)
    folder = folder if folder.is_dir() else folder.parent
    config = _read_object(folder, "tokenizer_config.json")
    special_map = _read_object(folder, "special_tokens_map.json")
    role_tokens = _role_tokens(folder, special_map) | _role_tokens(folder, config)
    of_config = _tokens_of_config(folder, config)
    declared = [*of_config, *_tokens_of_added(folder, {token["id"]: token["content"] for token in of_config})]
    special_names = [*role_tokens.values(), *_additional_special(folder, config, special_map)]
    source, specification = _vocabulary(folder)
    with _reading(folder, source):
        specification = with_added_tokens(specification, declared, special_names)
    return TokenizerFiles(
        source=f"{folder / source}",
        specification=specification,
        role_tokens=role_tokens,
        adds_bos=config.get("add_bos_token") is True,
        chat_template=_chat_template(folder, config),
    )


def _lone_gguf(location: Path) -> Path | None:
    """The GGUF that has the tokenizer of a checkpoint; `None` where files beside it have it, or there is none."""
    with _reading(location, "the GGUF"):
        gguf = gguf_file(location)
    is_alone = gguf is not None and not any((gguf.parent / name).is_file() for name in ("tokenizer.json", "vocab.json"))
    return gguf if is_alone else None


def _read_gguf(path: Path) -> TokenizerFiles:
    with _reading(path.parent, path.name):
        found = GgufTokenizer(path)
        specification = with_added_tokens(found.specification, (), found.role_tokens.values())
    return TokenizerFiles(str(path), specification, found.role_tokens, found.adds_bos, found.chat_template)


def _vocabulary(folder: Path) -> tuple[str, Specification]:
    if (folder / "tokenizer.json").is_file():
        return "tokenizer.json", _read_object(folder, "tokenizer.json")
    if not (folder / "vocab.json").is_file():
        raise TokenizerError(f"{folder} has neither tokenizer.json nor vocab.json with merges.txt")
    merges = _read_text(folder, "merges.txt")
    if merges is None:
        raise TokenizerError(f"{folder / 'merges.txt'} is missing; vocab.json alone is not a tokenizer")
    with _reading(folder, "merges.txt"):
        rules = parse_merges(merges)
    return "vocab.json", qwen2_specification(_read_object(folder, "vocab.json"), rules)


def _role_tokens(folder: Path, raw: Mapping[str, Any]) -> dict[str, str]:
    with _reading(folder, "tokenizer_config.json or special_tokens_map.json"):
        return {role: _content(raw[role]) for role in _ROLES if raw.get(role)}


def _additional_special(folder: Path, *raws: Mapping[str, Any]) -> list[str]:
    with _reading(folder, "tokenizer_config.json or special_tokens_map.json"):
        named = [raw.get(key) or () for raw in raws for key in _ADDITIONAL]
        # A mapping gives its tokens names, for models that see more than text.
        return [_content(token) for tokens in named for token in _values(tokens)]


def _values(tokens: Any) -> Iterable[Any]:
    return tokens.values() if isinstance(tokens, Mapping) else tokens


def _content(token: str | Mapping[str, str]) -> str:
    content = token if isinstance(token, str) else token["content"]
    if not isinstance(content, str):
        raise TypeError(f"a token's content must be a string, not {content!r}")
    return content


def _tokens_of_config(folder: Path, config: Mapping[str, Any]) -> list[AddedToken]:
    with _reading(folder, "tokenizer_config.json"):
        decoder = config.get("added_tokens_decoder") or {}
        return [{**token, "content": _content(token), "id": int(index)} for index, token in decoder.items()]


def _tokens_of_added(folder: Path, known: Mapping[int, str]) -> list[AddedToken]:
    """The tokens of `added_tokens.json`, but for older names of those that `tokenizer_config.json` lists: SDAR's mask
    is `<MASK>` in the one, and `<|MASK|>` in the other."""
    tokens = _read_object(folder, "added_tokens.json")
    with _reading(folder, "added_tokens.json"):
        added = [{"content": name, "id": int(index)} for name, index in tokens.items()]
    return [token for token in added if token["id"] not in known or token["content"] in known.values()]


def _chat_template(folder: Path, config: Mapping[str, Any]) -> str | None:
    with _reading(folder, "tokenizer_config.json or chat_template.json"):
        return read_chat_template(folder, partial(_read_text, folder), config)


def _read_object(folder: Path, name: str) -> dict[str, Any]:
    """The JSON object in a file; empty where there is no such file."""
    text = _read_text(folder, name)
    if text is None:
        return {}
    with _reading(folder, name):
        value = json.loads(text)
        if not isinstance(value, dict):
            raise TypeError(f"the file must hold a JSON object, not {type(value).__name__}")
    return value


def _read_text(folder: Path, name: str) -> str | None:
    path = folder / name
    if not path.is_file():
        return None
    with _reading(folder, name), path.open("rb") as file:
        data = file.read(_FILE_LIMIT_BYTES + 1)
        if len(data) > _FILE_LIMIT_BYTES:
            raise ValueError(f"it is larger than the limit of {_FILE_LIMIT_BYTES} bytes")
        return data.decode("utf-8")


@contextmanager
def _reading(folder: Path, name: str) -> Iterator[None]:
    """Turns every error about a file's content into a TokenizerError that names the file."""
    try:
        yield
    except TokenizerError as error:
        raise TokenizerError(f"{folder / name}: {error}") from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise TokenizerError(f"{folder / name} is damaged: {error!r}") from error
