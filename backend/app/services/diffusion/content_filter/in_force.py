"""The filters that a request passes: the rules of the setting, then a filter of the service's owner."""

from __future__ import annotations

import asyncio

from app.services.diffusion.content_filter.by_rules import CountHit, FilterByRules, configured_filter
from app.services.diffusion.content_filter.content_filter import ContentFilter


class ContentFilters:
    """The filters of one service. A request passes those that are there when it begins.

    Args:
        path: rules file of the setting `content_filter`, or an empty string.
        count_hit: called for each match of a rule.

    Raises (on creation):
        InvalidParameters: the file is wrong; one line says where.
    """

    def __init__(self, path: str, count_hit: CountHit) -> None:
        self._count_hit = count_hit
        self.rules = configured_filter(path, count_hit)
        self.own: ContentFilter | None = None

    async def read_rules(self, path: str) -> FilterByRules | None:
        """The rules of a file, not in force yet. Raises InvalidParameters as above."""
        return await asyncio.to_thread(configured_filter, path, self._count_hit)

    def in_force(self) -> list[ContentFilter]:
        """The filters in the order in which text passes them."""
        return [content_filter for content_filter in (self.rules, self.own) if content_filter is not None]
