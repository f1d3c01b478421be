"""The C library's allocator: how many arenas it may open, and how freed memory goes back to the system; and pages that
the process has in memory and does not need.

glibc gives threads that allocate at the same time arenas of their own, up to eight a core, and an arena keeps what is
freed in it. A server whose models are loaded again now and then has threads that come and go, and each may leave its
largest canvas and a model's weights behind in another arena: resident memory grew by some 100 MB with every round of
load and reloads, although nothing was held. With two arenas, freed memory is found again.
"""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

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


def drop_pages(address: int, num_bytes: int) -> None:
    """Takes the pages that lie wholly in a range out of this process's memory. Those of a mapped file are read again by
    whoever needs them; other memory is zero from then on, so it must be about to be freed. No pages outside Linux.

        page      | 0      | 1      | 2      | 3
        range         [                   )         page 1 alone
    """
    madvise = _c_function("madvise") if sys.platform == "linux" else None
    first = -(-address // mmap.PAGESIZE) * mmap.PAGESIZE
    end = (address + num_bytes) // mmap.PAGESIZE * mmap.PAGESIZE
    if madvise is not None and first < end:
        madvise(ctypes.c_void_p(first), ctypes.c_size_t(end - first), mmap.MADV_DONTNEED)


def drop_code() -> None:
    """Takes the code of shared libraries out of this process's memory, for the moment when most of it has just run for
    the last time: an import of torch leaves 57 MB of such pages behind. Others come back from the system's file cache,
    sixteen at a time, as they are run. Takes some hundredths of a second; drops nothing outside Linux."""
    if sys.platform == "linux":
        with suppress(psutil.Error, OSError):
            for region in psutil.Process().memory_maps(grouped=False):
                # What somebody has written into code is in no file.
                is_as_in_its_file = not region.anonymous and not region.swap
                if region.perms == "r-xp" and ".so" in Path(region.path).name and is_as_in_its_file:
                    start, end = (int(address, 16) for address in region.addr.split("-"))
                    drop_pages(start, end - start)


@cache
def _c_function(name: str) -> Callable[..., int] | None:
    """`None` where the C library has no function of that name, as musl, macOS and Windows have not."""
    try:
        function: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):
        return None
    return function
