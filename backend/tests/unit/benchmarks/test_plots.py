from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks.plots import PICTURES, main

SYSTEMS = ("exact", "balanced", "fast")


def speed() -> dict[str, Any]:
    systems = [{"system": name + suffix, "speedup": 2.5} for name in SYSTEMS for suffix in ("", ", 8 at once")]
    return {"machine": {}, "workloads": [{"workload": "llada, greedy", "systems": systems}]}


def growth() -> dict[str, Any]:
    def rows(axis: str) -> list[dict[str, Any]]:
        names = ("plain", *SYSTEMS)
        return [{axis: size, "system": name, "seconds": size / 9, "peak_mb": 3.0} for size in (1, 4) for name in names]

    return {"machine": {}, "axes": {axis: rows(axis) for axis in ("prompt_tokens", "new_tokens", "requests")}}


def ablation() -> dict[str, Any]:
    cell = {"mean": 1.0, "difference": 0.1, "error": 0.05}

    def rows(figure: str) -> list[dict[str, Any]]:
        judged = [{"system": name, "speedup": 2.0, "quality": {figure: cell}} for name in ("exact", "cache dual")]
        return [{"system": "plain", "speedup": 1.0, "quality": {}}, *judged]

    return {"machine": {}, "dtype": "float32", "llada": rows("judged_bits_per_byte"), "dreamon": rows("similarity")}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for name, report in (("speed", speed()), ("growth", growth()), ("ablation", ablation())):
        (tmp_path / f"{name}.json").write_text(json.dumps(report))
    return tmp_path


def test_the_same_numbers_give_the_same_pictures(results: Path, tmp_path: Path) -> None:
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        main(["--results", str(results), "--images", str(tmp_path / folder)])
    for name in PICTURES:
        first, second = (tmp_path / folder / f"performance-{name}.svg" for folder in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()
        assert first.stat().st_size < 100_000
    texts = {text for name in PICTURES for text in texts_of(tmp_path / "first" / f"performance-{name}.svg")}
    assert {"eight at once", "2.5", "requests at once", "plain loop", "cache dual"} <= texts


def texts_of(picture: Path) -> set[str]:
    return {element.text or "" for element in ElementTree.parse(picture).iter() if element.tag.endswith("}text")}


def test_a_missing_result_names_the_benchmark_to_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--results", str(tmp_path), "--images", str(tmp_path)])
    assert "run `python -m benchmarks.growth` first" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
