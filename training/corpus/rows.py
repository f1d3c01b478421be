"""The state of a text while it is written: its ids, what it repeats, and how it comes to its end."""

from __future__ import annotations

from dataclasses import dataclass, field

RUN = 3
"""The length of the runs whose followers are remembered."""


@dataclass(frozen=True, slots=True)
class Closing:
    """The last words that a text is given at the first end of a paragraph after `after` ids."""

    ids: list[int]
    after: int


@dataclass(slots=True)
class Written:
    """The ids that continue a prompt, and whether they end by themselves."""

    closing: Closing | None = None
    ids: list[int] = field(default_factory=list)
    ended: bool = False
    closes: bool = False
    """Whether the last words have begun: the next end of a paragraph is the end of the text."""
    forced: list[int] = field(default_factory=list)
    """The ids that come next, whatever the network would choose."""
    followers: dict[tuple[int, ...], list[int]] = field(default_factory=dict)
    """The ids that followed each run of three."""

    def repeated(self) -> list[int]:
        """The ids that would write a run of four again."""
        return self.followers.get(tuple(self.ids[-RUN:]), []) if len(self.ids) >= RUN else []

    def take(self, token: int, stop: int, breaks: frozenset[int]) -> int:
        """Adds the network's choice, or what has to stand in its place; returns which it was."""
        if self.ended:
            return stop
        token = self._instead(token, stop, token in breaks)
        self.ended = token == stop
        if not self.ended:
            self.ids.append(token)
            self.followers.setdefault(tuple(self.ids[-1 - RUN : -1]), []).append(token)
        return token

    def _instead(self, token: int, stop: int, is_break: bool) -> int:
        if is_break and self.closing and len(self.ids) >= self.closing.after:
            self.forced, self.closing, self.closes = list(self.closing.ids), None, True
        elif is_break and self.closes and not self.forced:
            return stop
        return self.forced.pop(0) if self.forced else token
