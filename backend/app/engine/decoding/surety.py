"""Which predictions are sure enough to be committed together, where that decides and no schedule does."""

from __future__ import annotations

from collections.abc import Sequence

from app.engine.decoding import selection
from app.engine.interface.params import DecodingParams

CALM_STEPS = 2
"""Steps in a row in which a distribution must hardly have moved (KLASS, arXiv 2511.05664, section 4)."""


class Surety:
    """The rule of one request's block or span. Scores are confidences, or with an entropy bound negative entropies."""

    def __init__(self, params: DecodingParams) -> None:
        self._params = params
        self._num_calm: dict[int, int] = {}  # by position

    def choose(
        self, positions: Sequence[int], scores: list[float], divergences: Sequence[float] = (), least: int = 1
    ) -> list[int]:
        """Indices of what is committed: what is sure enough, and of the others the best until there are `least`.

        Args:
            divergences: of each position's distribution from the last step's, in nats, where the request asks for it.
        """
        sure = self.sure(positions, scores, divergences)
        if len(sure) >= least:
            return sure
        others = [index for index in selection.best(scores, len(scores)) if index not in sure]
        return [*sure, *others[: least - len(sure)]]

    def sure(self, positions: Sequence[int], scores: list[float], divergences: Sequence[float] = ()) -> list[int]:
        """Indices of what is sure enough; there may be none."""
        params = self._params
        if params.entropy_bound is not None:
            return selection.within_entropy([-score for score in scores], params.entropy_bound)
        if params.confidence_factor is not None:
            return selection.within_factor(scores, params.confidence_factor)
        threshold = params.confidence_threshold or 0.0
        if params.local_threshold is not None:
            return selection.leaping(scores, positions, threshold, params.local_threshold)
        if params.revoke_threshold is not None:
            return selection.drafted(scores, threshold)
        sure = selection.reaching(scores, threshold)
        if params.stability_bound is None:
            return sure
        calm = self._calm(positions, divergences, params.stability_bound)
        return [index for index in sure if index in calm]

    def _calm(self, positions: Sequence[int], divergences: Sequence[float], bound: float) -> set[int]:
        moves = list(zip(positions, divergences, strict=True))
        self._num_calm = {p: self._num_calm.get(p, 0) + 1 for p, divergence in moves if divergence < bound}
        return {index for index, p in enumerate(positions) if self._num_calm.get(p, 0) >= CALM_STEPS}


class Revision:
    """Commits of a block that may be taken back (WINO, arXiv 2507.18578, section 3).

    A step looks at each of them again with its place masked, and what finds too little support becomes a mask again. A
    step takes back less than the one before it committed, so a block ends after at most as many steps as it has masks.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._committed: set[int] = set()
        self._num_last = 0

    @property
    def revisable(self) -> tuple[int, ...]:
        """Positions of the block's commits so far, in reading order."""
        return tuple(sorted(self._committed))

    def revoked(self, support: Sequence[float], committed: Sequence[int]) -> list[int]:
        """Positions among the revisable ones that are taken back, and notes what the step commits.

        Args:
            support: probability of the token at each revisable position.
        """
        weak = sorted((sure, p) for sure, p in zip(support, self.revisable, strict=True) if sure < self._threshold)
        # A single commit may be a guess that was forced; on that nothing is judged.
        revoked = [p for _, p in weak[: max(self._num_last - 1, 0)]] if len(committed) > 1 else []
        self._committed = (self._committed | set(committed)) - set(revoked)
        self._num_last = len(committed)
        return sorted(revoked)
