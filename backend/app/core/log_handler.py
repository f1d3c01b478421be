"""Writes log lines without ever waiting for their reader."""

from __future__ import annotations

import logging
import os
import select
from collections.abc import Iterator
from typing import TextIO

PIECE_BYTES = 4096
"""The number of bytes that a pipe takes at once if it takes anything at all."""


class UnwaitingHandler(logging.StreamHandler[TextIO]):
    """Drops log lines while nobody reads the pipe that they go to; files get every line.

    The event loop writes the lines, and a reader that hangs must not hang the server. A line that was cut off ends
    where it was cut.
    """

    _is_cut = False

    def emit(self, record: logging.LogRecord) -> None:
        descriptor = _descriptor(self.stream)
        if descriptor is None:
            super().emit(record)
            return
        try:
            # Half of a surrogate pair cannot be encoded in UTF-8, so it is escaped.
            self._write(descriptor, (self.format(record) + self.terminator).encode("utf-8", "backslashreplace"))
        except Exception:
            self.handleError(record)

    def _write(self, descriptor: int, line: bytes) -> None:
        for piece in _pieces(b"\n" + line if self._is_cut else line):
            if not select.select([], [descriptor], [], 0)[1]:
                break
            os.write(descriptor, piece)
            self._is_cut = not piece.endswith(b"\n")


def _pieces(line: bytes) -> Iterator[bytes]:
    return (line[start : start + PIECE_BYTES] for start in range(0, len(line), PIECE_BYTES))


def _descriptor(stream: TextIO) -> int | None:
    """The file descriptor; `None` for a stream without one, and where `select` knows only sockets."""
    try:
        return stream.fileno() if os.name == "posix" else None
    except (OSError, ValueError):
        return None
