"""The families that this engine runs, one line each, and which of them a checkpoint belongs to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from app.engine.families.base import Family
from app.engine.families.checkpoint_files import gguf_at, read_config_file
from app.engine.families.dream import DREAM
from app.engine.families.dreamon import DREAMON
from app.engine.families.fast_dllm_v2 import FAST_DLLM_V2
from app.engine.families.gguf_checkpoint import read_gguf_config
from app.engine.families.illada import ILLADA
from app.engine.families.llada import LLADA
from app.engine.families.sdar import SDAR
from app.engine.families.stable_diffcoder import STABLE_DIFFCODER
from app.engine.families.unsupported import why_unsupported
from app.engine.interface.errors import CheckpointError

_FAMILIES: dict[str, Family] = {}


def register(family: Family) -> None:
    """Adds a family; one from outside is known from here on, to every engine of the process."""
    assert family.name not in _FAMILIES, f"there is a family {family.name!r} already"
    _FAMILIES[family.name] = family


register(LLADA)
register(ILLADA)
register(DREAM)
register(DREAMON)
register(SDAR)
register(STABLE_DIFFCODER)
register(FAST_DLLM_V2)


def families() -> Collection[Family]:
    """Gives all families, in the order of their registration."""
    return _FAMILIES.values()


def family_named(name: str) -> Family:
    """Gives the family of a `ModelConfig`."""
    return _FAMILIES[name]


def family_of(raw_config: Mapping[str, Any]) -> Family:
    """Gives the family that `model_type` or `architectures` of a `config.json` names.

    Raises:
        CheckpointError: neither names a family that this engine runs; for well-known models it says why.
    """
    architectures = raw_config.get("architectures") or []
    if not isinstance(architectures, list):
        raise CheckpointError(f"config.json: architectures={architectures!r} must be a list of names")
    if why := why_unsupported(raw_config):  # first, because LLaDA-MoE calls itself llada too
        raise CheckpointError(why)
    for name in [raw_config.get("model_type"), *architectures]:
        for family in _FAMILIES.values():
            if family.publishes(str(name), raw_config):
                return family
    *first, last = [family.published_names[0] for family in _FAMILIES.values()]
    raise CheckpointError(
        f"config.json names no known family: model_type={raw_config.get('model_type')!r}, "
        f"architectures={raw_config.get('architectures')!r}; known model types are {', '.join(first)} and {last}"
    )


def read_config(folder: Path) -> dict[str, Any]:
    """Gives the `config.json` of a folder, or what a GGUF says instead, with all that its family finds in other files
    there: what every reader of a checkpoint begins with.

    Raises:
        CheckpointError: a file is missing or damaged, or the family unknown.
    """
    gguf = gguf_at(folder)
    raw = read_config_file(folder) if gguf is None else read_gguf_config(gguf)
    return family_of(raw).completed(raw, folder)
