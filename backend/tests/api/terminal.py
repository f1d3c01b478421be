"""A program in a terminal: what it draws, and what a user types."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

TIMEOUT_S = 60.0

LAUNCHER = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE):
    signal.signal(each, signal.SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""Begins as a shell in a terminal begins a program: with its keys, and with no signal ignored."""


def in_terminal(
    command: Sequence[str], variables: Mapping[str, str], *, typed: Mapping[str, str] | None = None
) -> tuple[str, int]:
    """Everything that the program wrote to a terminal of 24 lines, and its exit code.

    Args:
        typed: what the user types once a text has been written.
    """
    written, waiting = b"", dict(typed or {})
    deadline_s = time.monotonic() + TIMEOUT_S
    with _started(command, variables) as (process, terminal):
        while piece := _next_piece(terminal, deadline_s):
            written += piece
            assert time.monotonic() < deadline_s, written
            for text in [text for text in waiting if text.encode() in written]:
                os.write(terminal, waiting.pop(text).encode())
        return written.decode(), process.wait(timeout=TIMEOUT_S)


@contextmanager
def _started(command: Sequence[str], variables: Mapping[str, str]) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The program, which does not outlive the block, and our end of its terminal."""
    terminal, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", LAUNCHER, *command],
        env={**variables, "TERM": "xterm-256color"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield process, terminal
    finally:
        os.close(terminal)
        process.kill()
        process.wait()


def _next_piece(terminal: int, deadline_s: float) -> bytes:
    patience_s = max(0.0, deadline_s - time.monotonic())
    assert select.select([terminal], [], [], patience_s)[0], "the program says nothing and does not end"
    try:
        return os.read(terminal, 65_536)
    except OSError:  # so Linux says that nobody writes any more
        return b""
