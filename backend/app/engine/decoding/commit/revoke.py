"""A draft that is revised: commits that find no support are revoked (WINO, arXiv 2507.18578, section 3)."""

from __future__ import annotations

from collections.abc import Sequence

from app.engine.decoding.commit.rule import Candidates, CommitRule
from app.engine.decoding.selection import best
from app.engine.decoding.step import Signal
from app.engine.interface.params import DecodingParams


class Revoke(CommitRule):
    """Drafts by a confidence threshold, and revises the draft of the block at every step.

    A step looks at each commit of the block again with its position masked, and what finds too little support becomes a
    mask again. A step takes back less than the one before it committed, so a block ends after at most as many steps as
    it has masks.
    """

    PARAMETER = "revoke_threshold"
    REFINES = "confidence_threshold"
    NEEDS = frozenset({Signal.CONFIDENCES, Signal.SUPPORT})
    EXCLUDES = ("cache", "cfg_scale")
    BECAUSE = "looks at the whole canvas, once"

    def __init__(self, params: DecodingParams) -> None:
        assert params.revoke_threshold is not None
        self._threshold = params.confidence_threshold or 0.0
        self._least_support = params.revoke_threshold
        self.begin_block()

    def begin_block(self) -> None:
        self._committed: set[int] = set()
        self._num_last = 0

    def confident(self, candidates: Candidates) -> list[int]:
        return drafted(candidates.scores, self._threshold)

    @property
    def revisable(self) -> tuple[int, ...]:
        """The positions of the block's commits so far, in reading order."""
        return tuple(sorted(self._committed))

    def revoked(self, support: Sequence[float], committed: Sequence[int]) -> list[int]:
        """Gives the positions with the least support, fewer than the last step committed.

        A step that committed a single token revokes nothing: it may be a guess that was forced.
        """
        pairs = zip(support, self.revisable, strict=True)
        weak = [position for probability, position in sorted(pairs) if probability < self._least_support]
        revoked = weak[: max(self._num_last - 1, 0)] if len(committed) > 1 else []
        self._committed = (self._committed | set(committed)) - set(revoked)
        self._num_last = len(committed)
        return sorted(revoked)


def drafted(confidences: Sequence[float], threshold: float) -> list[int]:
    """Gives the best above the threshold, at most 70 % of the masks but at least 5, and never more than 20."""
    most = min(max(int(0.7 * len(confidences)), 5), 20)
    return [index for index in best(confidences, most) if confidences[index] > threshold]
