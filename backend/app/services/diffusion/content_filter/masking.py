"""Rules applied to one text that comes piece by piece."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.services.diffusion.content_filter.rules import Rule
from app.text.search import PatternSearch


class Refused(Exception):
    """A rule that refuses has matched."""

    def __init__(self, rule: Rule) -> None:
        super().__init__(rule.name)
        self.rule = rule


@dataclass(frozen=True, slots=True)
class MaskedSpan:
    """[start, end) of the text, and what stands there instead."""

    start: int
    end: int
    order: int
    """Place of the rule in the file: of two matches that begin together the first rule's mask is taken."""
    mask: str

    @property
    def replacement(self) -> str:
        return self.mask * (self.end - self.start) if len(self.mask) == 1 else self.mask


class Masking:
    """Masks what the rules forbid, or raises.

    All that `feed` and `flush` give, joined, depends on the whole text alone, not on how it was split. Text is held
    back from the first place on where a match may have begun.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._searches = [
            (order, rule, PatternSearch(pattern)) for order, rule in enumerate(rules) for pattern in rule.patterns
        ]
        self._held = ""
        self._held_start = 0
        self._masked: list[MaskedSpan] = []
        self.hits: list[Rule] = []
        """The rule of each match so far."""

    def feed(self, text: str) -> str:
        """The text that is safe to show now. Raises Refused."""
        self._held += text
        for order, rule, search in self._searches:
            self._note(order, rule, search.feed(text))
        settled_end = self._held_start + len(self._held)
        return self._release(min((search.open_start for *_, search in self._searches), default=settled_end))

    def flush(self) -> str:
        """The text that was held back, at the end. Raises Refused."""
        for order, rule, search in self._searches:
            self._note(order, rule, search.flush())
        return self._release(self._held_start + len(self._held))

    def _note(self, order: int, rule: Rule, spans: Sequence[tuple[int, int]]) -> None:
        for start, end in spans:
            self.hits.append(rule)
            if rule.action == "refuse":
                raise Refused(rule)
            self._masked.append(MaskedSpan(start, end, order, rule.mask))

    def _release(self, settled_end: int) -> str:
        """Give the text up to there, or up to a masked span that reaches beyond: it may grow together with another."""
        merged = list(_merged(self._masked))
        end = min([settled_end, *(span.start for span in merged if span.start < settled_end < span.end)])
        shown = "".join(self._pieces([span for span in merged if span.end <= end], end))
        self._masked = [span for span in self._masked if span.start >= end]
        self._held = self._held[end - self._held_start :]
        self._held_start = end
        return shown

    def _pieces(self, spans: Sequence[MaskedSpan], end: int) -> Iterator[str]:
        start = self._held_start
        for span in spans:
            yield self._text(start, span.start)
            yield span.replacement
            start = span.end
        yield self._text(start, end)

    def _text(self, start: int, end: int) -> str:
        return self._held[start - self._held_start : end - self._held_start]


def _merged(spans: Sequence[MaskedSpan]) -> Iterator[MaskedSpan]:
    """Spans that overlap become one, with the mask of the first."""
    current: MaskedSpan | None = None
    for span in sorted(spans, key=lambda span: (span.start, span.order)):
        if current is not None and span.start < current.end:
            current = MaskedSpan(current.start, max(current.end, span.end), current.order, current.mask)
        else:
            if current is not None:
                yield current
            current = span
    if current is not None:
        yield current
