"""Small tokenizer folders for the tests: the vectors' own, and two written by hand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).parents[2] / "conformance" / "vectors"
CHECKPOINTS = ("llada-tiny", "dream-tiny", "dreamon-tiny")

# As SentencePiece models look after conversion: ▁ for spaces, and bytes where a character is unknown.
_SENTENCEPIECE: dict[str, Any] = {
    "version": "1.0",
    "added_tokens": [],
    "normalizer": {
        "type": "Sequence",
        "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ],
    },
    "pre_tokenizer": None,
    "post_processor": None,
    "decoder": {
        "type": "Sequence",
        "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ],
    },
}


def copy_tokenizer(checkpoint: str, target: Path, *, without: tuple[str, ...] = ()) -> Path:
    """The tokenizer files of a vector checkpoint in a folder that a test may damage."""
    folder = target / checkpoint
    folder.mkdir(parents=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(VECTORS / checkpoint / name, folder)
    for name in ("vocab.json", "merges.txt", "added_tokens.json"):
        if (VECTORS / checkpoint / name).exists():
            shutil.copy(VECTORS / checkpoint / name, folder)
    for name in without:
        (folder / name).unlink()
    return folder


def edit_json(path: Path, **changes: Any) -> None:
    """Replace keys of a JSON object; a value of None writes null."""
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(content | changes))


def write_byte_fallback(folder: Path) -> Path:
    """A BPE over ▁-marked words with byte fallback, and the special tokens `<unk>` and `<s>`."""
    characters = ["▁", "a", "b", "c", "d", "ab", "▁a", "▁ab"]
    vocab = {"<unk>": 0, "<s>": 1} | {f"<0x{byte:02X}>": 2 + byte for byte in range(256)}
    vocab |= {token: 258 + index for index, token in enumerate(characters)}
    model = {
        "type": "BPE",
        "vocab": vocab,
        "merges": [["a", "b"], ["▁", "a"], ["▁", "ab"]],
        "unk_token": "<unk>",
        "fuse_unk": True,
        "byte_fallback": True,
    }
    return _write(folder, {**_SENTENCEPIECE, "model": model}, {"bos_token": "<s>", "unk_token": "<unk>"})


def write_unigram(folder: Path) -> Path:
    """A unigram model whose vocabulary holds its special tokens, as converted SentencePiece models do."""
    scores = {"<unk>": 0.0, "<s>": 0.0, "<mask>": 0.0, "▁": -2.0, "a": -3.0, "s": -3.0, "<": -4.0, ">": -4.0}
    model = {"type": "Unigram", "unk_id": 0, "vocab": [[piece, score] for piece, score in scores.items()]}
    return _write(folder, {**_SENTENCEPIECE, "model": model}, {"bos_token": "<s>", "mask_token": "<mask>"})


def _write(folder: Path, specification: Mapping[str, Any], config: Mapping[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(specification))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder
