from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from app.engine.interface.errors import OutOfDeviceMemory
from benchmarks.gpu import SYSTEMS, Bench, Job, Sample, main
from benchmarks.speed import GREEDY

LIMITS = {"float32_gflops": 100.0, "read_gb_per_s": 10.0}
CUDA_IS_MISSING = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.thorough
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, CUDA_IS_MISSING])])
def test_the_program_runs_with_and_without_a_gpu(
    device: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "gpu.json"
    small = ["--shape", "tiny", "--prompt", "16", "--tokens", "32", "--batches", "2", "--rounds", "1"]
    main(["--device", device, *small, "--profile", "--output", str(target)])
    report = json.loads(target.read_text())
    assert [(part["model"], part["canvas"]) for part in report["parts"]] == [("dreamon", 48), ("llada", 48)]
    for part in report["parts"]:
        assert part["left_out"] == []
        assert [system["system"] for system in part["systems"]] == ["plain", *(name for name, _, _ in SYSTEMS)]
        assert part["forward_share_of_roofline"] > 0
        by_name = {system["system"]: system for system in part["systems"]}
        assert by_name["exact"]["tokens_per_forward"] == by_name["plain"]["tokens_per_forward"] == 1
        assert by_name["exact, 2 a step"]["tokens_per_forward"] == 2
        assert by_name["exact"]["requests_per_pass"] == part["at_once"] == 2
    assert report["dtype"] == ("float32" if device == "cpu" else "bfloat16")
    printed = capsys.readouterr().out
    assert "x plain" in printed
    assert f"Self {device.upper()}" in printed


@pytest.mark.parametrize("family", ["dreamon", "llada"])
def test_random_weights_are_decoded_alike_by_engine_and_plain_loop(family: str) -> None:
    bench = Bench(family, "tiny", torch.device("cpu"), LIMITS)
    job = Job(family, prompt_tokens=10, new_tokens=32, sampling=GREEDY)
    (request,) = bench.requests(job, "exact", 1, count=1)
    decoded = job.workload("exact", 1).plain(bench.runner.model, request)
    sample = bench.engine([request], None)
    assert (sample.num_tokens, sample.nfe) == (len(decoded.ids), decoded.nfe) == (32, 32)


def test_systems_that_do_not_fit_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    def too_large(max_steps: int | None) -> Sample:
        raise OutOfDeviceMemory("32 requests together do not fit cuda:0")

    bench = Bench("llada", "tiny", torch.device("cpu"), LIMITS)
    assert not bench.fits(too_large)
    assert "left out: 32 requests together do not fit cuda:0" in capsys.readouterr().out
