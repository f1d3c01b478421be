"""The files of a checkpoint folder: which ones are read, and what they say before any number is looked at.

Nothing here imports torch, so that a download can be judged without it.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from app.engine.interface.errors import CheckpointError
from app.formats.gguf import GgufError, gguf_file

log = logging.getLogger(__name__)

_MAX_JSON_BYTES = 64 * 1024**2
_SINGLE_NAME = "model.safetensors"
_INDEX_NAME = "model.safetensors.index.json"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a checkpoint folder.

    Raises:
        CheckpointError: missing, too large, or no JSON object.
    """
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise CheckpointError(f"{path.name} is larger than {_MAX_JSON_BYTES} bytes")
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing; a checkpoint folder needs it") from error
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path.name} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path.name} holds no JSON object")
    return content


def read_config_file(folder: Path) -> dict[str, Any]:
    """`config.json`, with the ends of the text that only `generation_config.json` names behind its own.

    Raises:
        CheckpointError: one of the two is damaged, or the first is missing.
    """
    config = read_json(folder / "config.json")
    if not (folder / "generation_config.json").exists():
        return config
    generation = read_json(folder / "generation_config.json")
    ends = [*_as_list(config.get("eos_token_id")), *_as_list(generation.get("eos_token_id"))]
    return {**config, "eos_token_id": ends} if ends else config


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that hold the weights, or the GGUF. A single file comes before an index, as in
    transformers.

    Raises:
        CheckpointError: there are none, the index is damaged, or one that it names is missing.
    """
    if gguf := gguf_at(folder):
        return [gguf]
    has_index = (folder / _INDEX_NAME).exists()
    if (folder / _SINGLE_NAME).is_file() or not has_index:
        if has_index:
            log.warning("%s: %s is read, and %s beside it is not", folder.name, _SINGLE_NAME, _INDEX_NAME)
        return [_inside(folder, _SINGLE_NAME)]
    names = read_json(folder / _INDEX_NAME).get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise CheckpointError(f"{_INDEX_NAME} has no weight_map from tensor names to file names")
    return [_inside(folder, name) for name in sorted(set(names.values()))]


def gguf_at(location: Path) -> Path | None:
    """The GGUF that is the checkpoint of a file or folder; `None` where it is none.

    Raises:
        CheckpointError: a folder holds several.
    """
    try:
        return gguf_file(location)
    except GgufError as error:
        raise CheckpointError(str(error)) from error


def check_is_whole(folder: Path) -> None:
    """Raises CheckpointError if a configuration or a weight file is missing, or one was cut off."""
    read_config_file(folder)
    files = weight_files(folder)
    for path in files:
        with open_weights(path, framework="numpy"):
            pass
    if not files:
        raise CheckpointError(f"{_INDEX_NAME} names no files")


def open_weights(path: Path, framework: str = "pt") -> Any:
    """An open safetensors file; its header has been checked against its size."""
    try:
        return safe_open(path, framework=framework, device="cpu")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path.name} is no intact safetensors file: {error}") from error


def _inside(folder: Path, name: str) -> Path:
    if Path(name).name != name or not name.endswith(".safetensors"):
        raise CheckpointError(f"{_INDEX_NAME} names {name!r}; only .safetensors files of the same folder are opened")
    path = folder / name
    if len(name) > 255 or not path.is_file():
        raise CheckpointError(f"{name[:255]} is missing in {folder}; weights are read from safetensors files only")
    return path


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]
