"""Every golden vector, each request alone and all of a checkpoint together; and that the judge can say no."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.cases import find_cases
from tests.conformance.run import Verdicts, judge_folder, main

VECTORS = Path(__file__).parent / "vectors"
CASES = {case.label: case for case in find_cases(VECTORS)}


@pytest.fixture(scope="module")
def verdicts() -> Verdicts:
    return judge_folder(VECTORS)


@pytest.mark.parametrize("label", CASES)
def test_vector(label: str, verdicts: Verdicts) -> None:
    assert verdicts[label] is None


def _folder_with(tmp_path: Path, golden: str, change: Any) -> Path:
    """The vectors' checkpoints with one golden file, changed."""
    content = json.loads((VECTORS / "goldens" / golden).read_text())
    shutil.copytree(VECTORS / content["checkpoint"], tmp_path / content["checkpoint"])
    content["cases"] = content["cases"][:1]
    change(content["cases"][0])
    (tmp_path / golden).write_text(json.dumps(content))
    return tmp_path


def _change_one_token(case: dict[str, Any]) -> None:
    case["canvases"][3][0][-1] += 1


def _ask_for_something_new(case: dict[str, Any]) -> None:
    case["params"]["renoise"] = 0.5


def _have_an_unknown_shape(case: dict[str, Any]) -> None:
    case.clear()
    case["name"] = "novel"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_change_one_token, "the canvas after step 3 differs"),
        (_ask_for_something_new, "not understood: renoise"),
        (_have_an_unknown_shape, "unknown kind"),
    ],
)
def test_the_judge_says_no(tmp_path: Path, change: Any, reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = _folder_with(tmp_path, "llada_generate.json", change)
    assert main([str(folder)]) == 1
    printed = capsys.readouterr().out
    assert reason in printed
    assert printed.endswith("0 passed, 1 failed\n")


def test_an_empty_folder_is_no_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 1
    assert capsys.readouterr().out == "0 passed, 0 failed\n"
