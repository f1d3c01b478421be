from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import start


def test_a_start_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "REST_S", 0.0)
    output = tmp_path / "start.json"
    start.main(["--rounds", "1", "--output", str(output)])
    medians = json.loads(output.read_text())["medians"]
    assert 0 < medians["open_s"] < medians["answered_s"]
    assert medians["cpu_s"] > 0
    assert 100 < medians["anonymous_mb"] < medians["resident_mb"]
