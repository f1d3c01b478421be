from __future__ import annotations

import ctypes
import mmap
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

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


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux drops pages")
def test_pages_of_a_file_that_are_dropped_leave_memory_and_are_read_again(tmp_path: Path) -> None:
    content = torch.arange(2**22, dtype=torch.int32)  # 16 MB
    save_file({"x": content}, tmp_path / "x.safetensors")
    with safe_open(tmp_path / "x.safetensors", framework="pt") as file:
        weight = file.get_tensor("x")
    assert torch.equal(weight, content)
    before = allocator.resident_bytes()
    allocator.drop_pages(weight.data_ptr(), weight.nbytes)
    assert allocator.resident_bytes() < before - 8 * 2**20
    assert torch.equal(weight, content)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux drops pages")
@pytest.mark.parametrize(
    ("start", "length", "dropped"), [(0, 4, [0, 1, 2, 3]), (0.5, 2.75, [1, 2]), (1.25, 0.5, []), (1, 0, [])]
)
def test_only_pages_that_lie_wholly_in_the_range_are_dropped(start: float, length: float, dropped: list[int]) -> None:
    with mmap.mmap(-1, 4 * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as pages:
        pages.write(b"x" * len(pages))
        place = ctypes.addressof(first := ctypes.c_char.from_buffer(pages))
        allocator.drop_pages(place + int(start * mmap.PAGESIZE), int(length * mmap.PAGESIZE))
        del first
        assert [page for page in range(4) if pages[page * mmap.PAGESIZE] == 0] == dropped


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux drops pages")
def test_code_that_is_dropped_leaves_memory_and_runs_again() -> None:
    torch.ones(2, 2).matmul(torch.ones(2, 2))
    before = allocator.resident_bytes()
    allocator.drop_code()
    assert allocator.resident_bytes() < before - 16 * 2**20
    assert torch.ones(2, 2).matmul(torch.ones(2, 2)).tolist() == [[2.0, 2.0], [2.0, 2.0]]


class Region(NamedTuple):
    """A mapping, as psutil lists it."""

    addr: str
    perms: str
    path: str
    anonymous: int = 0
    swap: int = 0


REGIONS = [
    Region("1000-3000", "r--p", "/usr/lib/libx.so.6"),
    Region("3000-6000", "r-xp", "/usr/lib/libx.so.6"),
    Region("6000-7000", "rw-p", "/usr/lib/libx.so.6"),
    Region("7000-9000", "r-xp", "/usr/bin/python3.11"),
    Region("9000-a000", "r-xp", "[vdso]"),
    Region("a000-b000", "r-xp", "[anon]"),
    Region("b000-d000", "r-xp", "/a folder/b.abi3.so"),
    Region("d000-e000", "r-xp", "/usr/lib/patched.so", anonymous=4096),
    Region("e000-f000", "r-xp", "/usr/lib/patched.so", swap=4096),
]


def dropped(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    ranges: list[tuple[int, int]] = []
    monkeypatch.setattr(allocator, "drop_pages", lambda *each: ranges.append(each))
    allocator.drop_code()
    return ranges


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux drops pages")
def test_only_code_of_libraries_that_nobody_has_written_into_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not constants, into which the loader has written addresses; nor the program itself, nor the kernel's code."""
    monkeypatch.setattr(psutil.Process, "memory_maps", lambda self, grouped: REGIONS)
    assert dropped(monkeypatch) == [(0x3000, 0x3000), (0xB000, 0x2000)]


def test_code_stays_where_the_system_does_not_say_what_is_mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(self: psutil.Process, grouped: bool) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil.Process, "memory_maps", forbidden, raising=False)
    assert dropped(monkeypatch) == []
