"""The files of a PEFT adapter's folder. Nothing here imports torch, so that a download can be judged without it."""

from __future__ import annotations

from pathlib import Path

from app.engine.families.adapter_config import CONFIG_NAME, parse_adapter_config
from app.engine.families.checkpoint_files import open_weights, read_json
from app.engine.interface.errors import CheckpointError

WEIGHTS_NAME = "adapter_model.safetensors"
_PICKLE_NAME = "adapter_model.bin"


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter and no checkpoint."""
    return (folder / CONFIG_NAME).is_file() and not (folder / "config.json").exists()


def check_adapter_is_whole(folder: Path) -> None:
    """Raises CheckpointError if a file is missing, damaged or cut off, or asks for what is not computed."""
    parse_adapter_config(read_json(folder / CONFIG_NAME))
    with open_weights(adapter_weights_file(folder), framework="numpy"):
        pass


def adapter_weights_file(folder: Path) -> Path:
    """The file with the matrices.

    Raises:
        CheckpointError: it is missing, or there is only a pickle.
    """
    path = folder / WEIGHTS_NAME
    if path.is_file():
        return path
    if (folder / _PICKLE_NAME).exists():
        raise CheckpointError(
            f"{folder / _PICKLE_NAME} is a pickle, which may run code when it is read, and is not opened; save the "
            f"adapter as {WEIGHTS_NAME} (PEFT: save_pretrained with safe_serialization=True)"
        )
    raise CheckpointError(f"{path} is missing; an adapter folder needs it")
