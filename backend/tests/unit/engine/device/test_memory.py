from __future__ import annotations

import ctypes
from pathlib import Path

import pytest
import torch

from app.engine.device import memory
from app.engine.device.memory import DeviceMemory, device_memory, free_caches, held_bytes, logits_budget

MEGABYTE = 2**20


def test_the_machine_has_memory_and_some_of_it_is_in_use() -> None:
    host = device_memory("cpu")
    assert host is not None
    assert 0 < held_bytes("cpu") < host.total_bytes
    assert 0 < host.used_bytes < host.total_bytes
    assert host.free_bytes == host.total_bytes - host.used_bytes


def test_the_share_in_use_counts_what_is_to_be_added() -> None:
    assert DeviceMemory(4, 10).share_with(4) == 0.8
    assert DeviceMemory(12, 10).free_bytes == 0


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("1000000", DeviceMemory(700_000, 1_000_000)), ("max", None), (str(2**62), None)],
    ids=["a container", "no limit", "a limit above the machine"],
)
def test_a_container_has_what_its_limit_leaves_it(
    limit: str, expected: DeviceMemory | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "memory.max").write_text(limit + "\n")
    (tmp_path / "memory.current").write_text("900000\n")
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 150000\nactive_file 50000\nshmem 7\n")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    host = device_memory("cpu")
    if expected is None:
        assert host is not None
        assert host.total_bytes > 10**8
    else:
        assert host == expected


def test_a_device_that_is_not_there_has_no_memory_to_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert device_memory("cuda:0") is None
    assert device_memory("mps") is None


def test_a_device_that_is_none_has_no_memory() -> None:
    assert device_memory("the cloud") is None
    assert held_bytes("the cloud") == 0
    free_caches("the cloud")


def test_memory_that_pytorch_has_reserved_is_not_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (20, 100))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 50)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 15)
    assert device_memory("cuda:0") == DeviceMemory(45, 100)


def test_a_gpu_gives_logits_a_quarter_of_its_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "device_memory", lambda device: DeviceMemory(20, 100))
    assert logits_budget(5, "cuda:0") == 20
    assert logits_budget(30, "cuda:0") == 30
    assert logits_budget(5, "cpu") == 5


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="only glibc keeps freed memory in arenas")
def test_freed_memory_goes_back_to_the_system() -> None:
    pieces = [b"x" * 64 * 1024 for _ in range(2048)]  # below glibc's threshold for mappings of their own
    keep = pieces[-1]
    before = held_bytes("cpu")
    del pieces
    free_caches("cpu")
    assert before - held_bytes("cpu") > 64 * MEGABYTE
    assert keep
