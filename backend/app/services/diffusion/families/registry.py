"""The families whose text the service knows, one line each."""

from __future__ import annotations

from app.services.diffusion.families.base import TextFamily
from app.services.diffusion.families.block_causal import FAST_DLLM_V2, SDAR, STABLE_DIFFCODER
from app.services.diffusion.families.dream import DREAM
from app.services.diffusion.families.dreamon import DREAMON
from app.services.diffusion.families.illada import ILLADA
from app.services.diffusion.families.llada import LLADA

TEXT_FAMILIES: dict[str, TextFamily] = {}


def register(family: TextFamily) -> None:
    """Adds a family; one from outside is known from here on."""
    assert family.name not in TEXT_FAMILIES, f"there is a family {family.name!r} already"
    TEXT_FAMILIES[family.name] = family


register(LLADA)
register(ILLADA)
register(DREAM)
register(DREAMON)
register(SDAR)
register(STABLE_DIFFCODER)
register(FAST_DLLM_V2)


def text_family(name: str) -> TextFamily:
    """Gives what an engine's family of this name is to text."""
    return TEXT_FAMILIES[name]
