"""A family's side of text. The engine's declaration of the same name is its side of token ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.core.parameters import CacheName
from app.services.diffusion.models import Capability, Operation


@dataclass(frozen=True, slots=True)
class Preset:
    """The meaning of `decoding` where a request does not say otherwise. Without arguments it is `exact`."""

    cache: CacheName = "none"
    cache_refresh: int | None = None
    block_length: int | None = None
    confidence_threshold: float | None = None


EXACT = Preset()


@dataclass(frozen=True, kw_only=True)
class TextFamily:
    """Declares one family to the service."""

    name: str
    """The name of the engine's family."""
    max_length: int
    """New tokens at most."""
    always_begins: bool
    """Whether a prompt begins with the beginning of text, also where the tokenizer adds none by itself."""
    ends_infillings: bool
    """Whether the end of text stands behind a suffix."""
    block_length: int | None = None
    """The block length of a continuation, where a request names none. An infilling is one block."""
    starting_masks: Mapping[Operation, int] | None = None
    """Masks that an answer begins with, where it grows and shrinks as the model asks; `None`: its length is fixed."""
    infills: bool = True
    """Whether there may be text behind an answer, as for the engine."""
    presets: Mapping[str, Preset]
    """The presets by their value of `decoding`, chosen by benchmarks/quality.py; any other is exact."""

    @property
    def capabilities(self) -> tuple[Capability, ...]:
        """The operations of its models. Whatever continues a text can chat: a conversation is one."""
        return ("generate", "infill", "chat", "read") if self.infills else ("generate", "chat", "read")

    @property
    def changes_length(self) -> bool:
        """Whether an answer grows and shrinks while it is written."""
        return self.starting_masks is not None

    def preset(self, decoding: str | None) -> Preset:
        """Gives what a request's `decoding` means."""
        return self.presets.get(decoding or "exact", EXACT)
