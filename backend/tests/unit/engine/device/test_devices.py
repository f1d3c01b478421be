from __future__ import annotations

import errno

import numpy as np
import onnxruntime
import pytest
import torch

from app.engine.device.devices import choose_device, choose_dtype, home_device, is_broken, is_out_of_memory, row_quantum
from app.engine.interface.config import DTypeName
from app.engine.interface.errors import EngineError


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


def test_auto_accounts_for_the_weights_that_will_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (6, 10))
    assert choose_device("auto", 0.8, needed_bytes=4) == torch.device("cuda:0")
    assert choose_device("auto", 0.8, needed_bytes=5) == torch.device("cpu")


ADVICE = (
    "\nSearch for `cudaError' in https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html for more "
    "information.\nCUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below "
    "might be incorrect.\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1\n"
    "Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n"
)
AcceleratorError = getattr(torch, "AcceleratorError", RuntimeError)  # from torch 2.8 on
OrtError = onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException

SHORT = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    MemoryError(),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    AcceleratorError("CUDA error: out of memory" + ADVICE),
    *map(
        RuntimeError,
        (
            "[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9",
            "[enforce fail at alloc_cpu.cpp:80] data. DefaultCPUAllocator: not enough memory: you tried to allocate 9",
            "MPS backend out of memory (MPS allocated: 8.00 GiB, other allocations: 1.00 GiB, max allowed: 9.07 GiB).",
            "Invalid buffer size: 30.52 GiB",
            "CUDA error: out of memory" + ADVICE,
            "CUDA driver error: out of memory",
            "cuda runtime error (2) : out of memory at /pytorch/aten/src/THC/THCStorage.cu:58",
            "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
            "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
            "cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`",
            "cuFFT error: CUFFT_ALLOC_FAILED",
            "HIP out of memory. Tried to allocate 20.00 MiB (GPU 0; 7.98 GiB total capacity)",
            "HIP error: out of memory",
            "HIP error: hipErrorOutOfMemory",
            "CUDA error: HIPBLAS_STATUS_ALLOC_FAILED when calling `hipblasCreate(handle)`",
            "std::bad_alloc",
            "bad allocation",
            "Error out of memory at line 383 in file /src/csrc/ops.cu",
            "unable to mmap 123 bytes from file <model.safetensors>: Cannot allocate memory (12)",
        ),
    ),
    *map(
        OrtError,
        (
            "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Exception during initialization: std::bad_alloc",
            "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running MatMul node. "
            "bfc_arena.cc:376 Failed to allocate memory for requested buffer of size 67108864",
            "[ONNXRuntimeError] : 1 : FAIL : bfc_arena.cc:359 Available memory of 1024 is smaller than requested bytes "
            "of 4096",
            "[ONNXRuntimeError] : 1 : FAIL : CUDA failure 2: out of memory ; GPU=0 ; hostname=gpu",
        ),
    ),
]
BROKEN = [
    AcceleratorError("CUDA error: device-side assert triggered" + ADVICE),
    *map(
        RuntimeError,
        (
            "CUDA error: device-side assert triggered" + ADVICE,
            "CUDA error: an illegal memory access was encountered" + ADVICE,
            "HIP error: an illegal memory access was encountered",
            "CUDA error: unspecified launch failure" + ADVICE,
            "CUDA error: misaligned address" + ADVICE,
            "CUDA error: an illegal instruction was encountered" + ADVICE,
            "CUDA error: uncorrectable ECC error encountered" + ADVICE,
            "CUDA error: the launch timed out and was terminated" + ADVICE,
            "cuda runtime error (59) : device-side assert triggered at /pytorch/aten/src/THC/THCReduceAll.cuh:327",
            "CUDA error: CUBLAS_STATUS_ALLOC_FAILED; before it: an illegal memory access was encountered",
        ),
    ),
]
NEITHER = [
    ValueError("DefaultCPUAllocator: can't allocate memory"),
    KeyError("CUDA out of memory"),
    OSError(errno.ENOSPC, "No space left on device"),
    AcceleratorError("CUDA error: invalid configuration argument" + ADVICE),
    *map(
        RuntimeError,
        (
            "mat1 and mat2 shapes cannot be multiplied (3x4 and 5x6)",
            "no token is called 'CUDA out of memory'",
            "cuda runtime error (21) : no such device",
            "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx`",
            "CUDA error: no kernel image is available for execution on the device" + ADVICE,
            "CUDA error: too many resources requested for launch" + ADVICE,
            "out of resource: shared memory, Required: 147456, Hardware limit: 101376",
            "index 7 is out of bounds for dimension 0 with size 3",
            "The expanded size of the tensor (4) must match the existing size (5) in memory format",
        ),
    ),
    OrtError("[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got invalid dimensions for input: ids"),
]


def test_numpy_says_it_in_a_type_of_its_own() -> None:
    with pytest.raises(MemoryError) as raised:
        np.empty(2**60, np.uint8)
    assert is_out_of_memory(raised.value)


@pytest.mark.parametrize("error", SHORT, ids=repr)
def test_errors_of_a_full_device_are_recognised(error: Exception) -> None:
    assert is_out_of_memory(error)
    assert not is_broken(error)


@pytest.mark.parametrize("error", BROKEN, ids=repr)
def test_a_broken_device_is_not_short_of_memory(error: Exception) -> None:
    assert is_broken(error)
    assert not is_out_of_memory(error)


@pytest.mark.parametrize("error", NEITHER, ids=repr)
def test_other_errors_are_neither_a_full_nor_a_broken_device(error: Exception) -> None:
    assert not is_out_of_memory(error)
    assert not is_broken(error)


def test_the_error_of_the_cpu_allocator_is_recognised() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**60)
    assert is_out_of_memory(raised.value)


def test_auto_without_cuda_is_the_cpu_whatever_else_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("auto").type == "cpu"
    assert choose_device("mps").type == "mps"


def test_auto_passes_over_a_device_that_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def mem_get_info(index: int) -> tuple[int, int]:
        if index == 0:
            raise RuntimeError("CUDA error: device-side assert triggered" + ADVICE)
        return 5, 10

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", mem_get_info)
    assert choose_device("auto", 0.8) == torch.device("cuda:1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert choose_device("auto", 0.8) == torch.device("cpu")


@pytest.mark.parametrize(("needed", "expected"), [(8, "cuda:0"), (9, "cuda:1"), (17, None)])
def test_home_is_the_largest_device_that_would_hold_the_weights_alone(
    needed: int, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = [10] if needed < 9 else [10, 20]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(sizes))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (0, sizes[index]))
    assert home_device(0.8, needed) == (None if expected is None else torch.device(expected))


@pytest.mark.parametrize("name", ["cuda", "cuda:1", "mps", "toaster", "cuda:x", "meta"])
def test_a_missing_device_is_an_engine_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_auto_takes_bfloat16_on_cuda_and_float32_elsewhere(name: DTypeName, device: str, dtype: torch.dtype) -> None:
    assert choose_dtype(name, torch.device(device), num_weights=10**6) is dtype


@pytest.mark.parametrize("has_units", [True, False])
def test_auto_takes_bfloat16_for_a_large_model_on_a_cpu_with_units_for_it(
    has_units: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_units)
    expected = torch.bfloat16 if has_units else torch.float32
    assert choose_dtype("auto", torch.device("cpu"), num_weights=8 * 10**9) is expected
    assert choose_dtype("auto", torch.device("mps"), num_weights=8 * 10**9) is torch.float32


def test_the_quantum_gives_every_thread_a_full_share() -> None:
    assert row_quantum(torch.device("cpu")) == max(16, 8 * torch.get_num_threads())
