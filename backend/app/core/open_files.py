"""How many files and connections the system lets this process have open."""

from __future__ import annotations

import sys
from contextlib import suppress


def allow_open_files(num_wanted: int) -> int:
    """Raises the process's own limit as far as it needs and may; how many files it can have open then."""
    if sys.platform == "win32":
        return num_wanted  # sockets are not counted there
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return num_wanted
    attainable = num_wanted if hard == resource.RLIM_INFINITY else min(num_wanted, hard)
    if soft < attainable:
        with suppress(OSError, ValueError):  # where the system allows less than it says, the old limit holds
            resource.setrlimit(resource.RLIMIT_NOFILE, (attainable, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
