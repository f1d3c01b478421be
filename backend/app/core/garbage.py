"""Python's garbage collector in a process that does nothing but serve.

Torch, FastAPI and what comes along with them are 250,000 objects, which stay. A full collection looks at every one of
them: 0.1 s in which no other thread runs, and each load asks for several, as a lack of memory does. So collections wait
until all of that is imported, and then leave it out.
"""

from __future__ import annotations

import gc
from threading import Lock

_is_server = False
_lock = Lock()


def postpone_collections() -> None:
    """Puts collections off until `settle` or `resume_collections`; the first step of a process that serves."""
    global _is_server
    _is_server = True
    gc.disable()


def settle() -> None:
    """Lets collections run, and leave out what is there now. For the moment when torch has been imported, and no model
    is there: one that is would never be freed, where its objects refer to each other. Only the first call counts, and
    none in a process of somebody else."""
    global _is_server
    with _lock:
        if _is_server:
            _is_server = False
            gc.freeze()
            gc.enable()


def resume_collections() -> None:
    """Lets collections run where nothing has settled, since no model was to be loaded yet."""
    if _is_server:
        gc.enable()
