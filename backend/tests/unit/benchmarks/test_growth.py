from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.text.tokenizer import Tokenizer
from benchmarks.growth import Point, load_runner, measure, show
from benchmarks.speed import MODELS

ROOT = Path(__file__).resolve().parents[4]
PROGRAM = """
from benchmarks.growth import peak_of

held_before = bytearray(50 * 2**20)
print(peak_of(lambda: bytearray(30 * 2**20)), peak_of(lambda: None))
"""


@pytest.mark.thorough
def test_a_point_is_measured_for_every_system(capsys: pytest.CaptureFixture[str]) -> None:
    point = Point(prompt_tokens=8, new_tokens=8, requests=2)
    rows = measure(point, load_runner(), Tokenizer.load(MODELS / "llada"), rounds=1)
    assert [row["system"] for row in rows] == ["plain", "exact", "balanced", "fast"]
    for row in rows:
        assert (row["prompt_tokens"], row["new_tokens"], row["requests"]) == (8, 8, 2)
        assert row["steps_measured"] == 8
        one_after_the_other = 2 if row["system"] == "plain" else 1
        assert row["seconds"] == pytest.approx(8 * one_after_the_other * row["ms_per_step"] / 1e3, rel=0.01)
        assert row["tokens_per_s"] == pytest.approx(16 / row["seconds"], rel=0.01)
    show("requests", rows)
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_the_first_steps_of_a_long_request_represent_the_rest() -> None:
    assert Point(new_tokens=64).num_steps == 64
    assert Point(new_tokens=1024).num_steps == 128


def test_the_peak_is_that_of_the_work_alone() -> None:
    """The process does nothing else, since memory that is freed meanwhile would make the peak smaller."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, env=_environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    of_work, of_nothing = map(int, done.stdout.split())
    assert of_work == pytest.approx(30 * 2**20, rel=0.3)
    assert of_nothing < 10 * 2**20


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'backend'}"}
