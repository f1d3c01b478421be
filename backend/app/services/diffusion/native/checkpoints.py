"""The place of a checkpoint: a folder as it stands, or a hub id that is downloaded first."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from app.core.parameters import MAX_NEW_TOKENS
from app.engine.families.adapter_files import check_adapter_is_whole, is_adapter
from app.engine.families.checkpoint_files import check_is_whole, read_json
from app.engine.families.unsupported import why_unsupported
from app.engine.interface.errors import CheckpointError
from app.services.diffusion.locations import path_at
from app.text.errors import TextError
from app.text.tokenizer_files import read_tokenizer_files

EMBEDDED_FOLDER = Path(__file__).resolve().parents[3] / "assets" / "models"

# Weights as safetensors, configuration and tokenizer as text: no pickle and no code is ever fetched.
DOWNLOADED_FILES = ("*.safetensors", "*.json", "*.txt", "*.jinja")
_CONFIG_ALONE = ("config.json",)

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


def checkpoint_folder(location: str, kind: str = "checkpoint") -> Path:
    """The folder of a checkpoint or an adapter, or a checkpoint's GGUF; a hub id (`organisation/name`) is downloaded
    into the hub's cache. Blocking.

    Args:
        kind: what it is, for an error.

    Raises:
        CheckpointError: there is no such folder, or the download failed.
    """
    folder = path_at(location)
    if folder.is_dir() or (folder.suffix.lower() == ".gguf" and folder.is_file()):
        return folder
    if is_hub_id(location):
        return download(location)
    raise CheckpointError(f"{kind} folder {location!r} does not exist; give an existing folder or a hub id")


class OwnDefaults(NamedTuple):
    """The parameters that a checkpoint chooses for its continuations, in its `generation_config.json`, for where a
    request names none; `None`: it leaves that to its family, as the published ones do."""

    block_length: int | None = None
    initial_masks: int | None = None


def own_defaults(folder: Path) -> OwnDefaults:
    """The defaults that a checkpoint chooses itself; a GGUF chooses none.

    Raises:
        CheckpointError: the file is damaged, or a value is no length.
    """
    if not (folder / "generation_config.json").exists():
        return OwnDefaults()
    generation = read_json(folder / "generation_config.json")
    return OwnDefaults(**{name: _length(name, generation.get(name)) for name in OwnDefaults._fields})


def _length(name: str, value: Any) -> int | None:
    if value is None or (type(value) is int and 1 <= value <= MAX_NEW_TOKENS):
        return value
    expected = f"a whole number from 1 to {MAX_NEW_TOKENS}"
    raise CheckpointError(
        f"generation_config.json: {name}={value!r} is not {expected}; correct it, or take the key out"
    )


def is_hub_id(location: str) -> bool:
    """Whether the location is of the form `organisation/name`, and no path of a GGUF."""
    return _HUB_ID.fullmatch(location) is not None and not location.lower().endswith(".gguf")


def download(
    hub_id: str,
    *,
    to: Path | None = None,
    revision: str | None = None,
    is_online: bool = True,
    shows_progress: bool = True,
) -> Path:
    """The folder of a hub repository's checkpoint or adapter, in the hub's cache or where it is wanted. Blocking.

    Args:
        is_online: whether the hub may be asked for what is not there yet.
        shows_progress: whether bars on standard error show how far it is.

    Raises:
        CheckpointError: it is not there, the download failed, or what came is no whole checkpoint.
    """
    try:
        if not shows_progress:
            _hide_progress()
        _refuse_unsupported(_fetched(hub_id, to, revision, is_online, _CONFIG_ALONE), hub_id)
        folder = _fetched(hub_id, to, revision, is_online, DOWNLOADED_FILES)
    except CheckpointError:
        raise
    except Exception as error:  # the hub's client and the HTTP client under it have no common root
        reason = "; ".join(filter(None, [" ".join(str(error).split()), _blamed_on_the_environment()]))
        raise CheckpointError(
            f"checkpoint {hub_id!r} is neither an existing folder nor could it be downloaded: {reason}"
        ) from error
    try:
        _check_is_whole(folder)
    except (CheckpointError, TextError) as error:
        raise CheckpointError(f"checkpoint {hub_id!r} did not come whole: {error}; download it again") from error
    return folder


def _check_is_whole(folder: Path) -> None:
    if is_adapter(folder):  # its tokenizer is that of the base
        check_adapter_is_whole(folder)
        return
    check_is_whole(folder)
    read_tokenizer_files(folder)


def _refuse_unsupported(folder: Path, hub_id: str) -> None:
    """Refuses what is known not to be computed before its weights are fetched, which may take hours."""
    try:
        raw_config = read_json(folder / "config.json")
    except CheckpointError:
        return  # said with all else that is missing, once the rest has come
    if why := why_unsupported(raw_config):
        raise CheckpointError(f"checkpoint {hub_id!r}: {why}")


def _fetched(hub_id: str, to: Path | None, revision: str | None, is_online: bool, files: Sequence[str]) -> Path:
    from huggingface_hub import HfApi, snapshot_download  # slow to import, and most installations never need it

    if to is not None:
        # Where the hub cannot be asked, its library takes any folder that exists for the one that is wanted.
        revision = HfApi().model_info(hub_id, revision=revision or "main").sha
    return Path(
        snapshot_download(
            hub_id, allow_patterns=list(files), local_dir=to, revision=revision, local_files_only=not is_online
        )
    )


def _hide_progress() -> None:
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()


def _blamed_on_the_environment() -> str:
    from reynard_diffusion.connections import unusable_variables  # brings httpx, which a server never needs otherwise

    names = unusable_variables()
    return f"look at {', '.join(names)} in the environment" if names else ""
