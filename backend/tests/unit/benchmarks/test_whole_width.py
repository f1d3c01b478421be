from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import whole_width
from benchmarks.shapes import SHAPES

LLADA = {**SHAPES["tiny"]["llada"], "vocab_size": 5000, "embedding_size": 5000}


def test_a_server_of_a_whole_model_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(whole_width.SERVED, "llada-8b", LLADA)
    output = tmp_path / "whole.json"
    whole_width.main(["--folder", str(tmp_path), "--tokens", "8", "--output", str(output)])
    report = json.loads(output.read_text())
    assert [(row["decoding"], row["commits"], row["tokens"]) for row in report["rows"]] == [
        ("fast", 1, 8),
        ("fast", 4, 8),
        ("balanced", 1, 8),
        ("exact", 1, 8),
    ]
    assert report["loaded"]["peak_gb"] >= report["loaded"]["resident_gb"] > 0.1
    assert [path.name for path in tmp_path.iterdir()] == ["whole.json"], "the checkpoint is gone"
