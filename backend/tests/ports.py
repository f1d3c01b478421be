"""Ports that stay free until the server for which they are meant takes them."""

from __future__ import annotations

import socket
import sys

_held: list[socket.socket] = []
"""Bound and not listening, until this process ends."""


def free_port() -> int:
    """A port of this machine at which nobody listens, and that is given to nobody else while this process lives.

    On Linux a held port is open to a server that asks for it by number and with `SO_REUSEADDR`, as all do; whoever asks
    for any free port, in another test run beside this one for example, gets another.
    """
    probe = socket.socket()
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    probe.bind(("127.0.0.1", 0))
    port: int = probe.getsockname()[1]
    if sys.platform == "linux":
        _held.append(probe)
    else:
        probe.close()
    return port
