"""The limit of the system for the files and connections that this process has open."""

from __future__ import annotations

import sys
from contextlib import suppress


def allow_open_files(num_wanted: int) -> int:
    """Raises the process's limit as far as needed and allowed; gives the number of files that it can have open then."""
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
