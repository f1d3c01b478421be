from __future__ import annotations

import pytest

from app.text.tokenizer import Tokenizer
from benchmarks.growth import Point, load_runner, measure, peak_of, show
from benchmarks.speed import MODELS


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


def test_of_a_long_request_the_first_steps_stand_for_the_rest() -> None:
    assert Point(new_tokens=64).num_steps == 64
    assert Point(new_tokens=1024).num_steps == 128


def test_the_peak_is_that_of_the_work_alone() -> None:
    before = bytearray(50 * 2**20)
    # The most of three: whatever else gives memory back meanwhile must not count.
    assert max(peak_of(lambda: bytearray(30 * 2**20)) for _ in range(3)) == pytest.approx(30 * 2**20, rel=0.3)
    assert peak_of(lambda: None) < 10 * 2**20
    del before
