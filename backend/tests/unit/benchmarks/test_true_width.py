from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch

from app.engine.families.checkpoint import load_model
from benchmarks import llama_cpp, quiet, true_width
from benchmarks.few_layers import depth_of, with_depth, write_depths
from benchmarks.few_layers_gguf import write_gguf
from benchmarks.llama_cpp import steps_s
from benchmarks.quiet import Gate, Moment, Timing, timed
from benchmarks.shapes import BLOCK_CAUSAL, SHAPES
from benchmarks.true_width import compared, extrapolated, figures, main

CPU = torch.device("cpu")
TINY_SDAR = {
    **BLOCK_CAUSAL["sdar-1.7b"],
    "hidden_size": 32,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 64,
    "vocab_size": 512,
    "mask_token_id": 508,
    "eos_token_id": 509,
}
TINY = {"sdar": TINY_SDAR, **SHAPES["tiny"]}


@pytest.mark.parametrize("name", TINY)
def test_checkpoints_of_two_depths_share_the_files_of_their_layers(name: str, tmp_path: Path) -> None:
    folders = write_depths(tmp_path, TINY[name], (1, 3))
    models = {depth: load_model(folder, CPU, torch.bfloat16) for depth, folder in folders.items()}
    assert {depth: model.config.num_layers for depth, model in models.items()} == {1: 1, 3: 3}
    assert (folders[1] / "layer-0.safetensors").samefile(folders[3] / "layer-0.safetensors")
    shallow, deep = (dict(models[depth].named_parameters()) for depth in (1, 3))
    assert all(torch.equal(weight, deep[weight_name]) for weight_name, weight in shallow.items())


@pytest.mark.parametrize("family", SHAPES["tiny"])
def test_the_same_shape_is_written_for_llama_cpp(family: str, tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    path = write_gguf(tmp_path / "q.gguf", SHAPES["tiny"][family], 3, "Q4_0")
    config = load_model(path, CPU, torch.bfloat16).config
    assert (config.num_layers, config.vocab_size) == (3, 512)


def test_the_whole_model_follows_from_two_depths() -> None:
    assert extrapolated({2: 1.0, 4: 1.6}, 32) == pytest.approx((0.3, 10.0))
    assert depth_of(with_depth(TINY_SDAR, 7)) == 7


def test_nothing_follows_from_a_depth_that_was_never_measured() -> None:
    row = figures({2: [Timing(1.0, 2.0)], 4: []}, 32)
    assert row["samples"] == {"2": 1, "4": 0}
    assert "whole_seconds" not in row


def test_the_engine_is_compared_with_the_best_type_of_llama_cpp() -> None:
    seconds = {"int8": 2.0, "llama.cpp BF16": 12.0, "llama.cpp Q4_0": 8.0}
    rows = compared([{"system": system, "whole_seconds": value} for system, value in seconds.items()])
    assert [row["x_llama_cpp"] for row in rows] == [4.0, 0.67, 1.0]


def test_every_setting_is_measured_at_every_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(true_width, "MODELS", {"tiny": TINY_SDAR, "shifted": SHAPES["tiny"]["dreamon"]})
    monkeypatch.setattr(true_width, "LEAST_S", 0.0)
    target, threads = tmp_path / "out.json", torch.get_num_threads()
    measured = ["--models", "tiny", "shifted", "--rounds", "1", "--most-others", "99", "--depths", "1", "2"]
    main([*measured, "--threads", str(threads), "--folder", str(tmp_path), "--output", str(target)])
    for part in json.loads(target.read_text())["models"]:
        steps = [(row["system"], row["step"]) for row in part["rows"]]
        assert steps == [(setting, step) for setting in ("bfloat16", "int8") for step in true_width.STEPS]
        assert all(row["seconds"]["2"] > 0 and row["whole_seconds"] for row in part["rows"])
    assert "window of 8" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


def test_llama_cpp_is_refused_where_it_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="there is no"):
        main(["--cli", str(tmp_path / "missing")])


def test_a_step_of_llama_cpp_is_the_difference_of_two_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(cli: Path, gguf: Path, canvas: int, steps: int) -> tuple[Timing, int]:
        return Timing(10 + 0.5 * steps, 8 + steps), steps

    monkeypatch.setattr(llama_cpp, "_peer_run", run)
    assert steps_s(Path(), Path(), 160) == Timing(0.5, 1.0)


def test_a_run_of_llama_cpp_tells_the_time_of_its_steps_without_its_loading(tmp_path: Path) -> None:
    cli = script(
        tmp_path, "sleep 0.2; echo 'diffusion step: 1/2'; echo 'total time: 61.50ms, time per step: 30.75ms' >&2"
    )
    timing, num_steps = llama_cpp._peer_run(cli, tmp_path / "any.gguf", 160, 2)
    assert (timing.seconds, num_steps) == (0.0615, 1)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("echo no such model >&2; exit 3", "no such model"),
        ("true", "how long its steps took"),
        ("echo total time: 3.00ms", "0 steps"),
    ],
)
def test_another_program_than_llama_cpps_is_named(body: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=said):
        steps_s(script(tmp_path, body), tmp_path / "any.gguf", 160)


def script(folder: Path, body: str) -> Path:
    """A program for the shell."""
    program = folder / "cli"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    return program


# -- the gate ---------------------------------------------------------------------------------------------------------


def test_work_of_this_process_is_no_work_of_others() -> None:
    started = Moment(seconds=10.0, own_s=5.0, busy_s=100.0)
    assert Moment(seconds=12.0, own_s=9.0, busy_s=104.5).others_since(started) == pytest.approx(0.25)


def test_a_disturbed_sample_is_taken_again(monkeypatch: pytest.MonkeyPatch) -> None:
    others = iter([1.0, 0.5, 0.0, 0.0])  # during the first sample, then while watching twice, then during the second
    monkeypatch.setattr(Moment, "others_since", lambda self, earlier: next(others))
    monkeypatch.setattr(quiet, "LOOK_S", 0.0)
    gate, samples = Gate(), iter([Timing(9.0, 9.0), Timing(1.0, 1.0)])
    assert gate.sample(lambda: next(samples)) == Timing(1.0, 1.0)
    assert gate.num_disturbed == 1


def test_a_sample_that_is_always_disturbed_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Moment, "others_since", lambda self, earlier: 1.0)
    assert Gate(patience_s=0.0).sample(lambda: Timing(1.0, 1.0)) is None


def test_times_are_those_of_one_repeat() -> None:
    timing = timed(lambda: time.sleep(0.01), repeats=3)
    assert 0.01 <= timing.seconds < 1
    assert timing.cpu_s < timing.seconds
