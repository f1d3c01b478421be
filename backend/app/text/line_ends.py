r"""Line ends: a model sees only `\n`, and an answer ends its lines as the text around it does.

`\r\n`, `\n` and a lone `\r` each end a line, as in Python's universal newlines.
"""

from __future__ import annotations

from dataclasses import dataclass

CRLF = "\r\n"
AS_WRITTEN = ""
"""A line end that leaves those of a text as they are."""


def to_lf(text: str) -> str:
    r"""The text with `\n` at the end of every line, as a model sees it."""
    return text.replace(CRLF, "\n").replace("\r", "\n") if "\r" in text else text


def with_line_end(text: str, line_end: str) -> str:
    """The text with `line_end` at the end of every line, or unchanged for `AS_WRITTEN`."""
    if line_end == AS_WRITTEN:
        return text
    lines = to_lf(text)
    return lines if line_end == "\n" else lines.replace("\n", line_end)


@dataclass(frozen=True, slots=True)
class LineEnds:
    r"""The line ends of an answer that will stand between two given texts.

    With `\n` at the end of every line, the client's whole text is what the model saw and wrote:
    `to_lf(before + answer + after) == to_lf(before) + written + to_lf(after)`, for every answer that is not empty.
    """

    line_end: str = AS_WRITTEN
    r"""The line end is `\r\n` where more than half of the given `\n` follow a `\r`, `\r` where all lines end with `\r`
    alone, and `AS_WRITTEN` for a single line."""
    opening: str = ""
    r"""The characters that complete a line end that breaks off behind its `\r`; the answer begins with them."""
    closing: str = ""
    r"""The characters that complete a line end whose `\n` begins the text behind the gap; the answer ends with them."""

    @classmethod
    def around(cls, before: str, after: str = "") -> LineEnds:
        """The line ends for an answer between these two texts as the client sent them."""
        line_end = _usual_line_end(before + after)
        if not before.endswith("\r") or line_end == "\r":
            return cls(line_end)
        return cls(line_end, opening="\n", closing="\r" if after.startswith("\n") else "")

    def written(self, text: str) -> str:
        """The whole text with these line ends."""
        return with_line_end(text, self.line_end)


def _usual_line_end(text: str) -> str:
    num_line_feeds, num_pairs = text.count("\n"), text.count(CRLF)
    if num_line_feeds == 0:
        return "\r" if "\r" in text else AS_WRITTEN
    return CRLF if 2 * num_pairs > num_line_feeds else "\n"


class LineEndWriter:
    """Writes one kind of line end into a text that comes piece by piece; `AS_WRITTEN` leaves the text unchanged.

    The outputs, joined, depend on the whole text only. Nothing is held back: a line end is written as soon as
    its first character comes.
    """

    def __init__(self, line_end: str) -> None:
        self._line_end = line_end
        self._is_after_return = False

    def feed(self, text: str) -> str:
        r"""The piece with its line ends replaced; a `\n` whose `\r` ended the piece before gives nothing."""
        if not text or self._line_end == AS_WRITTEN:
            return text
        rest = text[1:] if self._is_after_return and text[0] == "\n" else text
        self._is_after_return = text[-1] == "\r"
        return with_line_end(rest, self._line_end)


class Joint:
    r"""Fits an answer to the text around it just before it is sent, and never splits `\r\n` between two pieces."""

    def __init__(self, line_ends: LineEnds) -> None:
        self._line_ends = line_ends
        self._held = ""
        self._has_text = False

    @property
    def num_added(self) -> int:
        """The number of characters that are sent before those of the answer itself."""
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
        """The text that was held back, with `LineEnds.closing`; empty for an empty answer."""
        held, self._held = self._held, ""
        return held + self._line_ends.closing if self._has_text else ""
