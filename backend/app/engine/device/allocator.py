"""The C library's allocator: how many arenas it may open, and how freed memory goes back to the system.

glibc gives threads that allocate at the same time arenas of their own, up to eight a core, and an arena keeps what is
freed in it. A server whose models are loaded again now and then has threads that come and go, and each may leave its
largest canvas and a model's weights behind in another arena: resident memory grew by some 100 MB with every round of
load and reloads, although nothing was held. With two arenas, freed memory is found again.
"""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Callable
from functools import cache

import psutil

MAX_ARENAS = 2
"""One is the main thread's, the event loop. Engines and loaders share the other: Python lets one of them run at a time
outside the numeric kernels, which allocate large blocks and seldom."""

_M_ARENA_MAX = -8
"""The option's number in glibc's malloc.h."""


def limit_arenas() -> bool:
    """Whether the limit now holds; False with another C library, or where `MALLOC_ARENA_MAX` says something else.

    Threads that already run keep the arena that they have, so this comes before they are started.
    """
    if "MALLOC_ARENA_MAX" in os.environ:
        return False
    mallopt = _c_function("mallopt")
    return mallopt is not None and bool(mallopt(_M_ARENA_MAX, MAX_ARENAS))


def resident_bytes() -> int:
    """Bytes of the host's memory that this process holds, in use or not."""
    return int(psutil.Process().memory_info().rss)


def give_back() -> None:
    """Gives what nobody uses back to the system; no pages with another C library. Takes some hundredths of a second."""
    gc.collect()  # tensors hang in reference cycles of exceptions
    malloc_trim = _c_function("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


@cache
def _c_function(name: str) -> Callable[..., int] | None:
    """`None` where the C library has no function of that name, as musl, macOS and Windows have not."""
    try:
        function: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):
        return None
    return function
