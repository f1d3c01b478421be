"""The table at the end of a run: which client, in which version, and what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tests.clients.environments import ENVIRONMENTS

HEAD = ("client", "version", "result")
HARNESS, HARNESS_TESTS = "lm-eval", "test_lm_eval.py::"
NOT_THERE = "not installed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one test.

    Attributes:
        name: the test's, such as `tests/clients/test_programs.py::test_…[ask_openai.py]`.
        word: `passed`, `failed`, `error` or `skipped`.
    """

    name: str
    word: str

    def is_of(self, program: str) -> bool:
        """Whether it ran this program."""
        return self.name.endswith(f"[{program}]")


def rows(folder: Path, outcomes: Sequence[Outcome]) -> Iterator[tuple[str, str, str]]:
    """One line for each package, as it is installed below `folder`."""
    for environment in ENVIRONMENTS:
        result = result_of(environment.programs, outcomes)
        for package, installed in environment.versions(folder).items():
            yield f"{package}{environment.language}", installed or NOT_THERE, result
    yield row_of_harness(outcomes)


def row_of_harness(outcomes: Iterable[Outcome]) -> tuple[str, str, str]:
    """The line of the harness of evaluations, which is tested in the environment of the tests."""
    words = Counter(outcome.word for outcome in outcomes if HARNESS_TESTS in outcome.name)
    result = ", ".join(f"{word}: {count}" for word, count in words.items())
    try:
        return HARNESS, version(HARNESS), result or "not run"
    except PackageNotFoundError:
        return HARNESS, NOT_THERE, result or "not run"


def result_of(programs: Iterable[str], outcomes: Iterable[Outcome]) -> str:
    """The programs that did not run to their ends, by name; or how many did."""
    words = {program: _word(program, outcomes) for program in programs}
    bad = [f"{word}: {program}" for program, word in words.items() if word != "passed"]
    return "; ".join(bad) or f"passed: {', '.join(words)}"


def _word(program: str, outcomes: Iterable[Outcome]) -> str:
    return next((outcome.word for outcome in outcomes if outcome.is_of(program)), "not run")


def lines(table: Iterable[tuple[str, str, str]]) -> list[str]:
    """The table with its columns one below the other."""
    everything = [HEAD, *table]
    widths = [max(map(len, column)) for column in zip(*everything, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in everything
    ]
