"""Python's garbage collector in a process that does nothing but serve.

Torch, FastAPI and what comes along with them are 250,000 objects, which stay. A full collection looks at every one of
them: 0.1 s in which no other thread runs, and each load asks for several, as a lack of memory does. So collections wait
until the process has imported what it needs, and what is there by then is not looked at again.
"""

from __future__ import annotations

import gc

_is_server = False


def postpone_collections() -> None:
    """Puts collections off until `settle`; the first step of a process that serves."""
    global _is_server
    _is_server = True
    gc.disable()


def settle() -> None:
    """Collections may run from here on, and leave out what is there now. Reference cycles that nobody uses by then are
    never freed, so this is for the few moments after large imports. In a process of somebody else it does nothing."""
    if _is_server:
        gc.freeze()
        gc.enable()
