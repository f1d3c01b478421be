"""Token ids with a role."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SpecialIds:
    """Token ids with a role in decoding, as the checkpoint's config gives them."""

    mask: int
    eos: int
    """The end of the text, and DreamOn's delete token."""
    pad: int
    bos: int | None = None
    expand: int | None = None
    """DreamOn: one expand token becomes two masks. `None` where the length of a canvas is fixed."""
    other_ends: tuple[int, ...] = ()
    """Further tokens that end the text, where a checkpoint has several."""
    unusable: tuple[int, ...] = ()
    """Ids of the vocabulary that no token has, where a family's files were asked for them. Nothing may predict one."""

    @property
    def ends(self) -> tuple[int, ...]:
        """Every token that ends the text."""
        return self.eos, *self.other_ends

    @classmethod
    def with_ends(
        cls,
        ends: tuple[int, ...],
        *,
        mask: int,
        pad: int | None,
        bos: int | None,
        expand: int | None = None,
        unusable: tuple[int, ...] = (),
    ) -> SpecialIds:
        """The ids of a checkpoint that has several ends: the end of the text is the one that pads, as in every release
        with a single one, else the first.
        """
        eos = pad if pad in ends and pad is not None else ends[0]
        others = tuple(end for end in ends if end != eos)
        return cls(mask, eos, eos if pad is None else pad, bos, expand, others, unusable)
