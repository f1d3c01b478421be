from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from app.engine.device import allocator

needs_glibc = pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallopt"), reason="only glibc has arenas that can be limited"
)

COUNTED = """
import ctypes, threading, xml.etree.ElementTree
import app.engine

ready, go = threading.Barrier(13), threading.Event()
def allocate():
    pieces = [bytearray(1000) for _ in range(1000)]
    ready.wait()
    go.wait()
threads = [threading.Thread(target=allocate) for _ in range(12)]
for thread in threads:
    thread.start()
ready.wait()
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
out = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
go.set()
"""


def num_arenas(**environment: str) -> int:
    """Arenas of a process with a dozen threads that allocate at the same time."""
    variables = {"PATH": "", "PYTHONMALLOC": "malloc", **environment}
    info = subprocess.run([sys.executable, "-c", COUNTED], env=variables, capture_output=True, text=True, check=True)
    return info.stdout.count("<heap nr=")


@needs_glibc
def test_threads_share_two_arenas() -> None:
    assert num_arenas() == allocator.MAX_ARENAS


@needs_glibc
def test_the_environment_has_the_last_word_on_arenas() -> None:
    assert num_arenas(MALLOC_ARENA_MAX="5") == 5


def test_another_c_library_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator, "_c_function", lambda name: None)
    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    assert not allocator.limit_arenas()
    allocator.give_back()
