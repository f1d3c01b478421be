from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from app.cli.doctor.machine import check_machine, usable_cores
from app.engine.device import memory


def levels() -> dict[str, str]:
    return {finding.text: finding.level for finding in check_machine()}


def level_of(part: str) -> str:
    (level,) = (level for text, level in levels().items() if part in text)
    return level


def test_every_finding_is_a_sentence() -> None:
    told = list(levels())
    assert told[0].startswith("Python 3.")
    assert told[1] == f"PyTorch {torch.__version__} is installed."
    assert "of memory are free" in told[-2]
    assert "usable cores" in told[-1]


def test_more_threads_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 999)
    assert level_of("999 threads") == "warning"


def test_scarce_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "device_memory", lambda _: memory.DeviceMemory(10**9, 10**9 + 1))
    assert level_of("0.0 of 1.0 GB of memory are free") == "warning"


def test_a_driver_that_pytorch_cannot_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/nvidia-smi")
    assert level_of("PyTorch is a build for CPUs") == "warning"
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    assert level_of("built for GPUs and finds none") == "warning"


def test_a_container_may_have_a_part_of_a_core(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    whole = usable_cores()
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert usable_cores() == 0.5
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert usable_cores() == whole
