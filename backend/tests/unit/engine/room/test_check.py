from __future__ import annotations

from typing import Any

import pytest
import torch

from app.engine.device.memory import DeviceMemory
from app.engine.interface.config import Demand, EngineConfig
from app.engine.interface.errors import OutOfDeviceMemory
from app.engine.room import check
from app.engine.room.check import check_room, in_words, preferred_device, size_of
from app.engine.room.estimate import Estimate
from tests.unit.engine.checkpoints import LLADA_CONFIG

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
WIDE = {**LLADA_CONFIG, "d_model": 512, "mlp_hidden_size": 1024, "n_layers": 4}


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The free bytes of each device, of a billion; a device that is not named says nothing."""
    free: dict[str, int] = {}

    def memory(device: torch.device) -> DeviceMemory | None:
        return DeviceMemory(10**9 - free[str(device)], 10**9) if str(device) in free else None

    monkeypatch.setattr(check, "device_memory", memory)
    monkeypatch.setattr(check, "free_caches", lambda device: None)
    monkeypatch.setattr(check, "cuda_devices", lambda: [torch.device(name) for name in free if name != "cpu"])
    return free


def estimate_of(demand: Demand = Demand(num_given=8, num_new=8), **config: Any) -> Estimate:  # noqa: B008 - immutable
    return Estimate("wide", WIDE, EngineConfig(**{"cpu_runtime": "torch", **config}), demand)


def refusal(estimate: Estimate, device: torch.device = CPU) -> str:
    with pytest.raises(OutOfDeviceMemory) as caught:
        check_room(estimate, device)
    return str(caught.value)


def test_the_last_byte_decides(free: dict[str, int]) -> None:
    estimate = estimate_of()
    free["cpu"] = estimate.need(CPU).least
    assert check_room(estimate, CPU) == estimate.need(CPU)
    free["cpu"] -= 1
    refusal(estimate)


def test_a_device_that_does_not_say_what_is_free_is_tried(free: dict[str, int]) -> None:
    assert check_room(estimate_of(), torch.device("mps")).least > 0


def test_weights_that_stay_in_their_files_need_not_fit(free: dict[str, int]) -> None:
    mapped = estimate_of(dtype="bfloat16")
    free["cpu"] = mapped.need(CPU).one.all
    need = check_room(mapped, CPU)
    assert need.weights.held == 0
    assert need.weights.mapped > free["cpu"]
    assert f"and for speed {size_of(need.weights.mapped)} for weights that stay in their files" in in_words(
        mapped, need
    )


def test_memory_that_others_left_in_caches_counts_as_free(
    free: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    free["cpu"] = 0
    monkeypatch.setattr(check, "free_caches", lambda device: free.update(cpu=10**9))
    check_room(estimate_of(), CPU)


def test_a_refusal_has_the_numbers_and_settings_that_would_fit(free: dict[str, int]) -> None:
    estimate = estimate_of(Demand(num_given=32, num_new=32, is_cached=True))
    need = estimate.need(CPU)
    free["cpu"] = need.least // 2
    said = refusal(estimate)
    assert said.startswith(f"wide needs {size_of(need.least)}: {size_of(need.weights.held)} for weights in float32, ")
    shares = (("cache", need.one.cache), ("logits", need.one.logits), ("states", need.one.states))
    assert all(f"{name} {size_of(size)}" in said for name, size in shares)
    assert "for 32 new tokens behind 32" in said
    assert f"; {size_of(free['cpu'])} of 1.0 GB are free on cpu. " in said
    assert "DIFFUSION_DTYPE=bfloat16 needs " in said
    assert "DIFFUSION_QUANTIZATION=int8 needs " in said


def test_what_would_not_fit_either_is_not_advised(free: dict[str, int]) -> None:
    free["cpu"] = 1000
    said = refusal(estimate_of())
    assert "DIFFUSION_" not in said
    assert said.endswith("No setting makes it small enough: free memory, or take a smaller checkpoint.")


def test_shorter_requests_are_advised_where_the_weights_fit(free: dict[str, int]) -> None:
    estimate = estimate_of()
    free["cpu"] = estimate.need(CPU).weights.held + 1
    assert "a smaller DIFFUSION_MAX_LENGTH leaves a request less" in refusal(estimate)
    free["cpu"] -= 2
    assert "DIFFUSION_MAX_LENGTH" not in refusal(estimate)


def test_auto_says_what_is_free_on_every_device(free: dict[str, int]) -> None:
    free |= {"cpu": 2_000_000, "cuda:0": 3_000_000}
    assert "2 MB of 1.0 GB are free on cpu, 3 MB of 1.0 GB on cuda:0" in refusal(estimate_of())
    assert "cuda:0" not in refusal(estimate_of(device="cpu"))


@pytest.mark.parametrize(("room", "expected"), [(0, "cuda:0"), (-1, "cpu")])
def test_auto_takes_a_gpu_that_has_room_for_the_weights_and_a_request(
    room: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimate = estimate_of(memory_threshold=1.0)
    free_bytes = estimate.least_on_cuda + room
    monkeypatch.setattr("app.engine.device.devices._cuda_memory", lambda: {0: (free_bytes, 10**9)})
    assert str(preferred_device(estimate)) == expected


def test_sizes_are_written_with_the_unit_that_suits() -> None:
    assert [size_of(size) for size in (0, 499_999, 12_345_678, 10**9, 12_345_678_901)] == [
        "0 MB", "0 MB", "12 MB", "1.0 GB", "12.3 GB",
    ]  # fmt: skip
