"""The cost of a request, for admission: what it takes at most of a pass, and of what is cached between two.

A prompt of 20 tokens and a window of 12 new ones, with guidance: 2 · 32 tokens and 2 · 12 rows in a pass.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.engine.cache.registry import stores
from app.engine.decoding.step import Sampler, Signal
from app.engine.device.memory import Need
from app.engine.interface.params import DecodingParams
from app.engine.request.context import ContextWindow
from app.engine.request.probe import candidate_lengths


def num_branches(params: DecodingParams) -> int:
    """Gives how many sequences a step computes: guidance has an unconditional one too."""
    return 2 if params.cfg_scale > 0 else 1


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one request while it sees the text through one context window."""

    params: DecodingParams
    window: ContextWindow
    signals: frozenset[Signal]
    """Signals that its commit rule needs."""
    sampler: type[Sampler]
    """The sampler of its family."""

    @property
    def max_tokens(self) -> int:
        """Tokens in one forward pass at most."""
        given = self.window.num_given
        computed = self.sampler.max_computed(self.params, given, self.window.capacity)
        decoding = computed * num_branches(self.params) + self._max_revisable
        return max(decoding, sum(given + length for length in candidate_lengths(self.params, self.window)))

    @property
    def max_rows(self) -> int:
        """Rows of logits in one forward pass at most."""
        # A position is wanted or revisable, never both.
        decoding = self.sampler.max_positions(self.params, self.window.capacity) * num_branches(self.params)
        return max(decoding, sum(candidate_lengths(self.params, self.window)))

    def need(self, num_cached: int, num_distributions: int) -> Need:
        """Gives what it may take of a device beside the weights, and what of that it holds already.

        Args:
            num_cached: tokens of the last step, whose keys and values are cached if any are.
            num_distributions: rows of the last step, whose distributions are cached if any are.
        """
        max_cached = self._max_cached
        # Distributions of this step stand beside those of the last one until they have been compared.
        max_distributions = 2 * self.window.capacity if Signal.DIVERGENCES in self.signals else 0
        return Need(
            self.max_tokens,
            self.max_rows,
            min(num_cached, max_cached),
            max_cached,
            min(num_distributions, max_distributions),
            max_distributions,
        )

    @property
    def _max_cached(self) -> int:
        """Tokens whose keys and values may be cached: the text, and what fills up the last block."""
        if not stores(self.sampler.CACHES[self.params.cache]):
            return 0
        whole = self.window.num_given + self.window.capacity + self.sampler.max_positions(self.params, 0)
        return max(self.max_tokens, whole * num_branches(self.params))

    @property
    def _max_revisable(self) -> int:
        """The commits of a block, each of which gets a row of its own where it may be revoked."""
        if Signal.SUPPORT not in self.signals:
            return 0
        return min(self.params.block_length or self.params.max_new_tokens, self.params.max_new_tokens)
