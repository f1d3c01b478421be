"""Edits on a tokenizer specification: the content of a `tokenizer.json`, as plain data."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from app.text.errors import TokenizerError

Specification = Mapping[str, Any]
AddedToken = Mapping[str, Any]  # keys: content, id, special, and how it is matched in text

_MATCH_LITERALLY = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}

# Qwen2's pre-tokeniser, which the Dream family inherits.
_QWEN2_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def qwen2_specification(vocab: Mapping[str, int], merges: Sequence[Sequence[str]]) -> Specification:
    """The specification of Qwen2's byte-level BPE, for checkpoints that ship only `vocab.json` and `merges.txt`."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    words = {"type": "Split", "pattern": {"Regex": _QWEN2_WORDS}, "behavior": "Isolated", "invert": False}
    return {
        "version": "1.0",
        "added_tokens": [],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [words, byte_level]},
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": vocab, "merges": merges},
    }


def gpt2_specification(vocab: Mapping[str, int], merges: Sequence[Sequence[str]]) -> Specification:
    """The specification of GPT-2's byte-level BPE, which LLaDA has."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": vocab, "merges": merges},
    }


def is_byte_level(specification: Specification) -> bool:
    """Whether tokens stand for bytes, so that a token may hold part of a character."""
    decoder = specification.get("decoder") or {}
    return bool(decoder.get("type") == "ByteLevel")


def with_added_tokens(
    specification: Specification, declared: Iterable[AddedToken], special_names: Iterable[str]
) -> Specification:
    """The specification with the added tokens that other files declare; `special_names` become special.

    Raises:
        TokenizerError: two files give one token different ids, or two tokens one id.
    """
    vocab = _ids_by_token(specification["model"])
    added = _merge([*specification.get("added_tokens", []), *declared])
    for name in special_names:
        # A single character is ordinary text even where a checkpoint names it as its padding.
        if name not in added and name in vocab and len(name) > 1:
            added[name] = {**_MATCH_LITERALLY, "content": name, "id": vocab[name]}
        if name in added:
            added[name] = {**added[name], "special": True}
    _require_distinct_ids(added)
    return {
        **specification,
        "added_tokens": sorted(added.values(), key=lambda token: int(token["id"])),
        "model": _model_with(specification["model"], {name: token["id"] for name, token in added.items()}),
    }


def text_only(specification: Specification) -> Specification:
    """The specification without the added tokens that a text could spell; other ids stay as they are.

    Emptying `added_tokens` is not enough: the same strings may stand in the model's vocabulary.
    """
    model = specification["model"]
    names = {token["content"] for token in specification["added_tokens"] if len(token["content"]) > 1}
    names.discard(model.get("unk_token"))
    return {**specification, "added_tokens": [], "model": _model_without(model, names)}


def _merge(tokens: Iterable[AddedToken]) -> dict[str, AddedToken]:
    """The tokens by content; where several files declare a token, the first one says how it is matched.

    A token whose file has no flags is special, so that it is never shown as text.
    """
    merged: dict[str, AddedToken] = {}
    for token in tokens:
        name = token["content"]
        first = merged.setdefault(name, {**_MATCH_LITERALLY, "special": True, **token})
        if first["id"] != token["id"]:
            raise TokenizerError(f"added token {name!r} has two ids: {first['id']} and {token['id']}")
        if token.get("special"):
            merged[name] = {**first, "special": True}
    return merged


def _require_distinct_ids(added: Mapping[str, AddedToken]) -> None:
    owners: dict[int, str] = {}
    for name, token in added.items():
        owner = owners.setdefault(token["id"], name)
        if owner != name:
            raise TokenizerError(f"added tokens {owner!r} and {name!r} share the id {token['id']}")


def _ids_by_token(model: Mapping[str, Any]) -> Mapping[str, int]:
    vocab = model["vocab"]
    if isinstance(vocab, Mapping):
        return vocab
    return {piece: index for index, (piece, _) in enumerate(vocab)}


def _model_with(model: Mapping[str, Any], ids: Mapping[str, int]) -> Mapping[str, Any]:
    """The model with the added tokens in its vocabulary; the library gives ids of its own to those that are not."""
    if not isinstance(model["vocab"], Mapping):
        return model
    return {**model, "vocab": {**ids, **model["vocab"]}}


def _model_without(model: Mapping[str, Any], names: set[str]) -> Mapping[str, Any]:
    if isinstance(model["vocab"], Mapping):
        vocab = {token: index for token, index in model["vocab"].items() if token not in names}
        merges = [merge for merge in model.get("merges", []) if names.isdisjoint(_tokens_of(merge))]
        return {**model, "vocab": vocab} | ({"merges": merges} if "merges" in model else {})
    # A unigram's ids are positions in its list: the entry stays and loses its name.
    retired = [[secrets.token_hex(16) if piece in names else piece, score] for piece, score in model["vocab"]]
    return {**model, "vocab": retired}


def _tokens_of(merge: str | Sequence[str]) -> tuple[str, str, str]:
    """The two tokens of a merge and their result; files write a merge as "a b" or ["a", "b"]."""
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right, left + right


def parse_merges(text: str) -> list[list[str]]:
    """The rules of a `merges.txt`, one "left right" per line.

    Raises:
        ValueError: a line is not two tokens.
    """
    lines = text.split("\n")
    if lines[0].startswith("#version"):
        lines = lines[1:]
    rules = [line.split() for line in lines if line.strip()]
    for rule in rules:
        if len(rule) != 2:
            raise ValueError(f"the rule {' '.join(rule)!r} is not two tokens")
    return rules
