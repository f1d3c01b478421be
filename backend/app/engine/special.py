"""Token ids with a role."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SpecialIds:
    """Token ids with a role in decoding, as the checkpoint's config gives them."""

    mask: int
    eos: int
    pad: int
    bos: int | None = None
    expand: int | None = None
    """DreamOn: one expand token becomes two masks. `None` where the length of a canvas is fixed."""
