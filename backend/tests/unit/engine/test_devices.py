from __future__ import annotations

import pytest
import torch

from app.engine.config import DTypeName
from app.engine.devices import choose_device, choose_dtype, is_out_of_memory, row_quantum
from app.engine.errors import EngineError


def test_the_cpu_is_always_there() -> None:
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize(
    ("memory", "threshold", "expected"),
    [
        ([(3, 10), (9, 10), (5, 10)], 1.0, "cuda:1"),
        ([(0, 10)], 1.0, "cuda:0"),
        ([(3, 4), (9, 40)], 0.5, "cuda:0"),
        ([(5, 10)], 0.5, "cuda:0"),
        ([(3, 10), (4, 10)], 0.5, "cpu"),
    ],
    ids=["most free memory", "even if full", "the roomiest is too full", "exactly full enough", "all too full"],
)
def test_auto_takes_the_cuda_device_with_most_free_memory_below_the_threshold(
    memory: list[tuple[int, int]], threshold: float, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(memory))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: memory[index])
    assert choose_device("auto", threshold) == torch.device(expected)


@pytest.mark.parametrize(("memory_threshold", "expected"), [(0.8, "cuda:1"), (0.5, "cuda:1"), (0.3, "cpu")])
def test_auto_passes_over_a_device_that_is_too_full(
    memory_threshold: float, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    free_bytes = [1, 6]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(free_bytes))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (free_bytes[index], 10))
    assert str(choose_device("auto", memory_threshold)) == expected


def test_auto_thinks_of_what_is_about_to_be_put_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (6, 10))
    assert choose_device("auto", 0.8, needed_bytes=4) == torch.device("cuda:0")
    assert choose_device("auto", 0.8, needed_bytes=5) == torch.device("cpu")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("DefaultCPUAllocator"), False),
    ],
)
def test_what_is_out_of_memory(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_the_allocator_of_the_cpu_says_what_is_looked_for() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**60)
    assert is_out_of_memory(raised.value)


@pytest.mark.parametrize(("has_mps", "expected"), [(True, "mps"), (False, "cpu")])
def test_auto_without_cuda(has_mps: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: has_mps)
    assert choose_device("auto").type == expected


@pytest.mark.parametrize("name", ["cuda", "cuda:1", "mps", "toaster", "cuda:x", "meta"])
def test_a_device_that_is_not_there_is_an_engine_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(EngineError, match=name):
        choose_device(name)


@pytest.mark.parametrize(
    ("name", "device", "dtype"),
    [
        ("auto", "cuda", torch.bfloat16),
        ("auto", "cpu", torch.float32),
        ("auto", "mps", torch.float32),
        ("bfloat16", "cpu", torch.bfloat16),
        ("float16", "cuda", torch.float16),
        ("float32", "cuda", torch.float32),
    ],
)
def test_dtypes(name: DTypeName, device: str, dtype: torch.dtype) -> None:
    assert choose_dtype(name, torch.device(device)) is dtype


def test_the_quantum_gives_every_thread_a_full_share() -> None:
    assert row_quantum(torch.device("cpu")) == 8 * torch.get_num_threads()
