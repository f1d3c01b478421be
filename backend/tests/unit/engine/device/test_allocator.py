from __future__ import annotations

import ctypes
import mmap
import subprocess
import sys
from pathlib import Path

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


def test_code_stays_where_no_file_says_what_is_mapped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(allocator, "_OWN_MAPS", tmp_path / "maps")
    monkeypatch.setattr(allocator, "drop_pages", lambda *_: pytest.fail("something was dropped"))
    allocator.drop_code()


def test_only_code_of_libraries_is_dropped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not constants, into which the loader has written addresses; nor the program itself, nor the kernel's code."""
    (tmp_path / "maps").write_text(
        "1000-3000 r--p 00000000 fe:00 7 /usr/lib/libx.so.6\n"
        "3000-6000 r-xp 00002000 fe:00 7 /usr/lib/libx.so.6\n"
        "6000-7000 rw-p 00005000 fe:00 7 /usr/lib/libx.so.6\n"
        "7000-9000 r-xp 00000000 fe:00 8 /usr/bin/python3.11\n"
        "9000-a000 r-xp 00000000 00:00 0 [vdso]\n"
        "a000-b000 r-xp 00000000 00:00 0\n"
        "b000-d000 r-xp 00000000 fe:00 9 /a folder/b.abi3.so (deleted)\n"
    )
    dropped: list[tuple[int, int]] = []
    monkeypatch.setattr(allocator, "_OWN_MAPS", tmp_path / "maps")
    monkeypatch.setattr(allocator, "drop_pages", lambda *each: dropped.append(each))
    allocator.drop_code()
    assert dropped == [(0x3000, 0x3000), (0xB000, 0x2000)]
