from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from training.plots import draw_run, main, thinned


def train_entry(step: int) -> dict[str, Any]:
    counters = {"kind": "train", "step": step, "tokens": 1000 * step, "minutes": step / 60, "progress": step / 9000}
    return counters | {"loss": 6 - step / 4000, "tokens_per_second": 4000 + step % 7, "rate": 0.5}


def report_entry(step: int) -> dict[str, Any]:
    scores = {f"masked_{ratio}": {"cross_entropy": 6 - step / 4000, "accuracy": 0.1} for ratio in (0.15, 0.5, 0.85)}
    return train_entry(step) | {"kind": "report"} | scores


def written(folder: Path, entries: list[dict[str, Any]]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    entries = [train_entry(step) for step in range(10, 9000)] + [report_entry(step) for step in range(500, 9000, 500)]
    return written(tmp_path / "run", sorted(entries, key=lambda entry: entry["step"]))


def test_the_picture_is_small_and_the_same_each_time(run: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.svg", tmp_path / "second.svg"
    for target in (first, second):
        draw_run(run, target, "dreamon")
    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_size < 100_000
    texts = [element.text for element in ElementTree.parse(first).iter() if element.tag.endswith("}text")]
    assert {"dreamon: training loss", "held-out text", "50% hidden", "learning rate / peak"} <= set(texts)


def test_a_log_without_rates_or_reports_can_be_drawn(tmp_path: Path) -> None:
    entries = [{key: value for key, value in train_entry(step).items() if key != "rate"} for step in (10, 20)]
    draw_run(written(tmp_path / "run", entries), tmp_path / "run.svg", "llada")
    assert "learning rate" not in (tmp_path / "run.svg").read_text()


def test_thinning_keeps_the_mean_and_short_series_as_they_are() -> None:
    values = [float(i) for i in range(1000)]
    assert len(thinned(values, 30)) == 30
    assert sum(thinned(values, 50)) / 50 == pytest.approx(sum(values) / 1000)
    assert thinned(values[:30], 30) == values[:30]


def test_the_program_redraws_a_run_and_says_where_there_is_none(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "again.svg"
    command = ["plots", "--model", "dreamon", "--target", str(target), "--run"]
    monkeypatch.setattr(sys, "argv", [*command, str(run)])
    main()
    assert target.exists()
    monkeypatch.setattr(sys, "argv", [*command, str(tmp_path / "nothing")])
    with pytest.raises(SystemExit, match="holds no log"):
        main()
