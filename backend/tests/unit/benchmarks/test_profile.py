from __future__ import annotations

import time

import pytest

from app.engine.models.layers import Rotary
from app.engine.passes.runner import ModelRunner
from benchmarks.growth import Point, load_runner, requests_of
from benchmarks.profile import PARTS, Stopwatch, measure, show, watching


def test_a_part_is_timed_without_the_parts_inside_it() -> None:
    watch = Stopwatch()
    inner = watch.timed("inner", lambda: time.sleep(0.02))

    def work() -> None:
        inner()
        time.sleep(0.01)
        inner()

    watch.timed("outer", work)()
    assert watch.seconds["inner"] >= 0.04
    assert 0.01 <= watch.seconds["outer"] < watch.seconds["inner"]


def test_every_part_of_a_step_has_its_time(capsys: pytest.CaptureFixture[str]) -> None:
    rotate = Rotary.rotate
    runner = ModelRunner(load_runner().model, cpu_runtime="torch")
    row = measure(runner, requests_of(Point(8, 4), [5, 6, 7], "fast"), rounds=1)
    assert Rotary.rotate is rotate, "the stopwatch is gone afterwards"
    assert list(row["parts"]) == [name for name, _, _ in PARTS if "graph" not in name]
    assert all(part_ms > 0 for part_ms in row["parts"].values())
    assert row["watched_ms"] == pytest.approx(sum(row["parts"].values()), abs=0.01)
    show("spans of 8", row)
    assert "linears" in capsys.readouterr().out


def test_the_stopwatch_goes_also_after_an_error() -> None:
    rotate = Rotary.rotate
    with pytest.raises(ZeroDivisionError), watching():
        raise ZeroDivisionError
    assert Rotary.rotate is rotate
