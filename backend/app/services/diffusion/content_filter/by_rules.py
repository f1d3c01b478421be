"""The content filter that a rules file describes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from functools import partial

from app.services.diffusion.content_filter.content_filter import ContentFilter, OutputFilter
from app.services.diffusion.content_filter.masking import Masking, Refused
from app.services.diffusion.content_filter.rules import Direction, FilterHit, Rule, read_rules
from app.services.diffusion.errors import ContentRejected
from app.text.pattern import Pattern
from app.text.search import pieces_at_risk

LONG_TEXT_CHARACTERS = 1_000
"""Longer texts are searched in a worker thread, so that the event loop is not held up."""

logger = logging.getLogger(__name__)

CountHit = Callable[[FilterHit], None]


def configured_filter(path: str, count_hit: CountHit) -> FilterByRules | None:
    """The filter of the setting `content_filter`; `None` where it is empty. Reads the file.

    Raises:
        InvalidParameters: the file is wrong; one line says where.
    """
    if not path:
        return None
    rules = read_rules(path)
    logger.info("the content filter has %d rules, from %s", len(rules), path)
    return FilterByRules(rules, count_hit)


class FilterByRules(ContentFilter):
    """Refuses or masks what the rules forbid."""

    def __init__(self, rules: Sequence[Rule], count_hit: CountHit) -> None:
        self._rules = rules
        self._count_hit = count_hit

    async def filter_input(self, text: str, *, field: str) -> str:
        whole = self._open("input", field)
        return await whole.feed(text) + await whole.flush()

    def open_output(self) -> OutputFilter:
        return self._open("output")

    def _open(self, direction: Direction, field: str = "") -> _FilteredText:
        rules = [rule for rule in self._rules if direction in rule.applies_to]
        return _FilteredText(rules, direction, field, self._count_hit)


class _FilteredText(OutputFilter):
    def __init__(self, rules: Sequence[Rule], direction: Direction, field: str, count_hit: CountHit) -> None:
        self._masking = Masking(rules)
        self._patterns = [pattern for rule in rules for pattern in rule.patterns]
        self._direction = direction
        self._field = field
        self._count_hit = count_hit
        self._num_counted = 0

    async def feed(self, text: str) -> str:
        return await self._masked(partial(self._masking.feed, text), len(text))

    async def flush(self) -> str:
        return await self._masked(self._masking.flush, 0)

    async def hidden(self, canvas: Sequence[str | None]) -> Collection[int]:
        return await asyncio.to_thread(_at_risk, self._patterns, canvas)

    async def _masked(self, work: Callable[[], str], num_characters: int) -> str:
        try:
            return await asyncio.to_thread(work) if num_characters > LONG_TEXT_CHARACTERS else work()
        except Refused as refusal:
            subject = self._field or "the answer"
            message = f"{subject} is refused by the rule {refusal.rule.name!r} of the content filter"
            raise ContentRejected(message, field=self._field) from None
        finally:
            self._count_hits()

    def _count_hits(self) -> None:
        for rule in self._masking.hits[self._num_counted :]:
            self._count_hit(FilterHit(rule.name, self._direction, rule.action))
        self._num_counted = len(self._masking.hits)


def _at_risk(patterns: Sequence[Pattern], canvas: Sequence[str | None]) -> set[int]:
    return {index for pattern in patterns for index in pieces_at_risk(pattern, canvas)}
