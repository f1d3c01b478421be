"""A program in a terminal: what it draws, and what a user types."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import termios
import time
from collections.abc import Mapping, Sequence

TIMEOUT_S = 60.0


def in_terminal(
    command: Sequence[str], variables: Mapping[str, str], *, typed: Mapping[str, str] | None = None
) -> tuple[str, int]:
    """Everything that the program wrote to a terminal of 24 lines, and its exit code.

    Args:
        typed: what the user types once a text has been written.
    """
    process, terminal = pty.fork()
    if process == 0:
        os.execvpe(command[0], list(command), {**variables, "TERM": "xterm-256color"})
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    written, waiting = b"", dict(typed or {})
    deadline_s = time.monotonic() + TIMEOUT_S
    while piece := _next_piece(terminal):
        written += piece
        assert time.monotonic() < deadline_s, written
        for text in [text for text in waiting if text.encode() in written]:
            os.write(terminal, waiting.pop(text).encode())
    os.close(terminal)
    return written.decode(), os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def _next_piece(terminal: int) -> bytes:
    assert select.select([terminal], [], [], TIMEOUT_S)[0], "the program says nothing and does not end"
    try:
        return os.read(terminal, 65_536)
    except OSError:  # so Linux says that nobody writes any more
        return b""
