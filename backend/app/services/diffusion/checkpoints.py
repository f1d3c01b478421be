"""Where a checkpoint lies: a folder as it stands, or a hub id that is downloaded first."""

from __future__ import annotations

import re
from pathlib import Path

from app.engine.errors import CheckpointError

EMBEDDED_FOLDER = Path(__file__).resolve().parents[2] / "assets" / "models"

# Weights as safetensors, configuration and tokenizer as text: no pickle and no code is ever fetched.
DOWNLOADED_FILES = ("*.safetensors", "*.json", "*.txt", "*.jinja")

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


def checkpoint_folder(location: str) -> Path:
    """The folder of a checkpoint; a hub id (`organisation/name`) is downloaded into the hub's cache. Blocking.

    Raises:
        CheckpointError: there is no such folder, or the download failed.
    """
    folder = Path(location).expanduser()
    if folder.is_dir():
        return folder
    if is_hub_id(location):
        return download(location)
    raise CheckpointError(f"checkpoint folder {location!r} does not exist; give an existing folder or a hub id")


def is_hub_id(location: str) -> bool:
    return _HUB_ID.fullmatch(location) is not None


def download(hub_id: str, *, to: Path | None = None, revision: str | None = None, is_online: bool = True) -> Path:
    """The folder of a hub repository's checkpoint, in the hub's cache or where it is wanted. Blocking.

    Args:
        is_online: whether the hub may be asked for what is not there yet.

    Raises:
        CheckpointError: it is not there, or the download failed.
    """
    from huggingface_hub import snapshot_download  # slow to import, and most installations never need it

    files = list(DOWNLOADED_FILES)
    try:
        return Path(
            snapshot_download(
                hub_id, allow_patterns=files, local_dir=to, revision=revision, local_files_only=not is_online
            )
        )
    except Exception as error:  # the hub's client and the HTTP client under it have no common root
        raise CheckpointError(
            f"checkpoint {hub_id!r} is neither an existing folder nor could it be downloaded: {error}"
        ) from error
