r"""Line ends: a model sees `\n` alone, and an answer ends its lines as the text around it does.

`\r\n`, `\n` and a lone `\r` each end a line, as in Python's universal newlines.
"""

from __future__ import annotations

from dataclasses import dataclass

CRLF = "\r\n"
AS_WRITTEN = ""
"""Stands for the line ends of whoever wrote a text, whatever they are."""


def to_lf(text: str) -> str:
    r"""The text with `\n` at the end of every line, as a model sees it."""
    return text.replace(CRLF, "\n").replace("\r", "\n") if "\r" in text else text


def with_line_end(text: str, line_end: str) -> str:
    """The text with this at the end of every line, or as it is for `AS_WRITTEN`."""
    if line_end == AS_WRITTEN:
        return text
    lines = to_lf(text)
    return lines if line_end == "\n" else lines.replace("\n", line_end)


@dataclass(frozen=True, slots=True)
class LineEnds:
    r"""The line ends of an answer that will stand between two given texts.

    Read with `\n` at the end of every line, the whole that the client has in the end is what the model saw and wrote:
    `to_lf(before + answer + after) == to_lf(before) + written + to_lf(after)`, for every answer that is not empty.
    """

    line_end: str = AS_WRITTEN
    r"""`\r\n` where more than half of the given `\n` have a `\r` before them, `\r` where all lines end with that alone;
    `AS_WRITTEN` for a single line."""
    opening: str = ""
    r"""Completes the line end of a text that breaks off behind its `\r`; the answer begins with it."""
    closing: str = ""
    r"""Completes the line end of a text behind the gap that begins with the `\n` of the same pair."""

    @classmethod
    def around(cls, before: str, after: str = "") -> LineEnds:
        """The line ends for an answer between these two texts as the client has them."""
        line_end = _usual_line_end(before + after)
        if not before.endswith("\r") or line_end == "\r":
            return cls(line_end)
        return cls(line_end, opening="\n", closing="\r" if after.startswith("\n") else "")

    def written(self, text: str) -> str:
        """A whole text with these line ends."""
        return with_line_end(text, self.line_end)


def _usual_line_end(text: str) -> str:
    num_line_feeds, num_pairs = text.count("\n"), text.count(CRLF)
    if num_line_feeds == 0:
        return "\r" if "\r" in text else AS_WRITTEN
    return CRLF if 2 * num_pairs > num_line_feeds else "\n"


class LineEndWriter:
    """Gives a text that comes piece by piece one kind of line end, or leaves it as it is for `AS_WRITTEN`.

    What it gives, joined, depends on the whole text alone, and nothing is held back: a line end is written as soon as
    its first character comes.
    """

    def __init__(self, line_end: str) -> None:
        self._line_end = line_end
        self._is_after_return = False

    def feed(self, text: str) -> str:
        r"""The piece with the line ends that it begins; the `\n` of a pair whose `\r` has come gives nothing."""
        if not text or self._line_end == AS_WRITTEN:
            return text
        rest = text[1:] if self._is_after_return and text[0] == "\n" else text
        self._is_after_return = text[-1] == "\r"
        return with_line_end(rest, self._line_end)


class Joint:
    r"""Fits an answer, just before it is sent, to the text around it, and keeps `\r\n` in one piece."""

    def __init__(self, line_ends: LineEnds) -> None:
        self._line_ends = line_ends
        self._held = ""
        self._has_text = False

    @property
    def num_added(self) -> int:
        """Characters before those of the answer itself."""
        return len(self._line_ends.opening)

    def feed(self, text: str) -> str:
        """The text that may be sent now."""
        if not text:
            return ""
        opening = "" if self._has_text else self._line_ends.opening
        self._has_text = True
        text = opening + self._held + text
        self._held = "\r" if self._line_ends.line_end in (CRLF, AS_WRITTEN) and text[-1] == "\r" else ""
        return text.removesuffix(self._held)

    def flush(self) -> str:
        """What was held back, and what completes the line end behind the gap; nothing for an empty answer."""
        held, self._held = self._held, ""
        return held + self._line_ends.closing if self._has_text else ""
