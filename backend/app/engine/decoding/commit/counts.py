"""A fixed number of commits per step, the best first (LLaDA, arXiv 2502.09992, appendix B)."""

from __future__ import annotations

from app.engine.decoding.commit.rule import Candidates, CommitRule


class Counts(CommitRule):
    """Commits what the sampler's schedule says: the rule of a request that switches no other one on."""

    NEEDS = frozenset()
    is_adaptive = False

    def confident(self, candidates: Candidates) -> list[int]:
        """Gives nothing: the schedule decides."""
        return []
