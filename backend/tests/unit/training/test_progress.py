from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from training.progress import RunLog, read_log


def entry(kind: str, step: int, **fields: Any) -> dict[str, Any]:
    return {"kind": kind, "step": step, "tokens": 10 * step, "minutes": 0.1, "progress": step / 100} | fields


def test_entries_are_lines_of_json_in_the_log_and_on_standard_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = RunLog(tmp_path)
    log.write(entry("train", 10, loss=3.5, tokens_per_second=1000))
    log.close()
    assert json.loads(capsys.readouterr().out)["loss"] == 3.5
    assert read_log(tmp_path)[0]["step"] == 10


def test_a_terminal_gets_a_bar_with_loss_and_speed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    log = RunLog(tmp_path)
    log.write(entry("resumed", 20))
    log.write(entry("train", 30, loss=3.5, tokens_per_second=1000))
    log.write(entry("report", 40))
    log.close()
    shown = capsys.readouterr()
    assert "loss 3.500, 1,000 tokens/s" in shown.err
    assert "30.0%" in shown.err
    assert '"report"' in shown.out
    assert [line["kind"] for line in read_log(tmp_path)] == ["resumed", "train", "report"]


def test_steps_that_were_lost_and_repeated_count_once(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    for kind, step in (("train", 10), ("train", 20), ("train", 30), ("resumed", 20), ("train", 30)):
        log.write(entry(kind, step))
    log.close()
    assert [line["step"] for line in read_log(tmp_path)] == [10, 20, 20, 30]
