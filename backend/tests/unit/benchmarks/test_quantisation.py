from __future__ import annotations

import pytest
import torch

from app.engine.families.build import build_model
from benchmarks import quantisation
from benchmarks.quantisation import memory_rows, product_rows, quality_rows
from benchmarks.shapes import SHAPES


def test_the_memory_of_the_published_shapes() -> None:
    rows = {row["model"]: row for row in memory_rows()}
    for name, config in SHAPES["true"].items():
        with torch.device("meta"):
            num_weights = sum(weight.numel() for weight in build_model(config).parameters())
        row = rows[name]
        assert row["none_gb"] == pytest.approx(2 * num_weights / 1e9) == row["float32_gb"] / 2
        assert 0.5 < row["int8_gb"] / row["none_gb"] < 0.6  # embedding and head stay as they are
        assert 0.35 < row["nf4_gb"] / row["none_gb"] < 0.4
    # 32 layers of 4096 keys, as many rotated ones and values for each token, two bytes each; DreamOn has fewer heads.
    assert rows["llada"]["kept_gb"] == pytest.approx(1024 * 32 * 3 * 4096 * 2 / 1e9)
    assert rows["dreamon"]["kept_gb"] < rows["llada"]["kept_gb"] / 8


def test_every_kind_of_projection_has_a_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantisation, "PROJECTIONS", [(64, 24)])
    monkeypatch.setattr(quantisation, "ROWS", [8, 32])
    num_threads = torch.get_num_threads()
    try:
        rows = product_rows(rounds=1)
    finally:
        torch.set_num_threads(num_threads)
    assert [row["rows"] for row in rows] == quantisation.ROWS
    assert all(speed > 0 for row in rows for speed in row.values())


def test_schemes_are_compared_with_float32_text_by_text() -> None:
    told = iter(([1.0, 2.0], [1.0, 2.0], [1.5, 2.5], [1.5, 2.5], [1.5, 2.5]))
    rows = quality_rows("bits", lambda dtype, quantization: {"bits": next(told)})
    assert [row["bits"]["difference"] for row in rows] == [0, 0, 0.5, 0.5, 0.5]
