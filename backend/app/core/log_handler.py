"""Writes log lines without ever waiting for whoever reads them."""

from __future__ import annotations

import logging
import os
import select
from collections.abc import Iterator
from typing import TextIO

PIECE_BYTES = 4096
"""A pipe that takes anything at all takes so many bytes at once."""


class UnwaitingHandler(logging.StreamHandler[TextIO]):
    """Loses lines while nobody reads the pipe that they go to: the event loop writes them, and a reader that hangs must
    not hang the server. A line that was cut off by that ends where it was cut. Files take everything.
    """

    _is_cut = False

    def emit(self, record: logging.LogRecord) -> None:
        descriptor = _descriptor(self.stream)
        if descriptor is None:
            super().emit(record)
            return
        try:
            # What stands outside UTF-8, as half a surrogate pair does, is spelt out.
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
    """`None` for a stream that is no file, and where `select` knows only sockets."""
    try:
        return stream.fileno() if os.name == "posix" else None
    except (OSError, ValueError):
        return None
