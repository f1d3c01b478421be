"""The cost of a new commit rule: the toy beside this file, decoded by the engine, and the files that a rule touches."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

import app
from app.engine.decoding.commit.registry import RULES, register
from app.engine.decoding.commit.rule import CommitRule
from app.engine.families.checkpoint import load_model
from app.engine.interface.errors import InvalidRequest
from app.engine.interface.params import GenerationRequest
from app.engine.passes.runner import ModelRunner
from tests.conformance import traces
from tests.extensions.toy_rule import Apart, ToyParams
from tests.unit.engine.checkpoints import CHECKPOINTS
from tests.unit.engine.mixture import mixed_requests

APP = Path(app.__path__[0])
RULES_OF_THE_PROGRAM = tuple(RULES)


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    """The one line that makes it known."""
    register(Apart)
    yield
    RULES.remove(Apart)


def runner_of(name: str) -> ModelRunner:
    return ModelRunner(load_model(CHECKPOINTS[name], torch.device("cpu"), torch.float32))


def request_of(**params: Any) -> GenerationRequest:
    return GenerationRequest("r", (5, 6, 7), (), ToyParams(12, **params))


# -- behaviour ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("least_distance", [1, 3, 12])
def test_the_engine_decodes_by_it(least_distance: int) -> None:
    runner = runner_of("llada-tiny")
    (trace,) = traces.run(runner, [request_of(least_distance=least_distance)], together=True)
    commits = [sorted(position for position, _, _ in step.committed) for step in trace.edits]
    gaps = [later - earlier for step in commits for earlier, later in pairwise(step)]
    assert all(gap >= least_distance for gap in gaps)
    assert sorted(position for step in commits for position in step) == list(range(3, 15))
    assert (len(commits) == 1) == (least_distance == 1)


def test_it_mixes_with_everything_in_a_batch() -> None:
    runner = runner_of("llada-tiny")
    others = mixed_requests(runner.model.config, seed=3, count=5)
    request = request_of(least_distance=2, block_length=6)
    *_, together = traces.run(runner, [*others, request], together=True)
    (alone,) = traces.run(runner, [request], together=True)
    assert together.canvases == alone.canvases


def test_a_family_whose_sampler_gives_its_signals_takes_it_too() -> None:
    (trace,) = traces.run(runner_of("dreamon-tiny"), [request_of(least_distance=2)], together=True)
    assert trace.edits


def test_a_family_without_its_signals_refuses_it_by_name() -> None:
    with pytest.raises(InvalidRequest, match="least_distance=2 has no meaning for dream models"):
        traces.run(runner_of("dream-tiny"), [request_of(least_distance=2)], together=True)


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ({"confidence_threshold": 0.5}, "confidence_threshold and least_distance exclude each other; leave one out"),
        ({"steps": 4}, "least_distance takes as many steps as it needs; leave steps out"),
    ],
)
def test_a_combination_that_the_rule_excludes_is_refused_from_its_declaration(
    given: dict[str, Any], refused: str
) -> None:
    with pytest.raises(InvalidRequest, match=refused):
        traces.run(runner_of("llada-tiny"), [request_of(**{"least_distance": 2, **given})], together=True)


# -- what it touches ---------------------------------------------------------------------------------------------------


DECLARED = {"core/parameters.py", "services/diffusion/models.py", "engine/interface/params.py"}
"""The files where every parameter is declared."""
BUILT_UPON = {"confidence_threshold", "local_threshold"}
"""Parameters that presets, checks of combinations and other rules have to do with too."""


def names_in(file: Path) -> Iterator[str]:
    """Classes that it has or imports, and the fields, attributes and strings in its code."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        for attribute in ("name", "attr", "id", "value", "arg"):
            name = getattr(node, attribute, None)
            if isinstance(name, str):
                yield name


@cache
def files() -> dict[str, set[str]]:
    return {file.relative_to(APP).as_posix(): set(names_in(file)) for file in APP.rglob("*.py")}


def files_with(name: str) -> set[str]:
    return {file for file, names in files().items() if name in names}


def file_of(rule: type[CommitRule]) -> str:
    return rule.__module__.removeprefix("app.").replace(".", "/") + ".py"


@pytest.mark.parametrize("rule", RULES_OF_THE_PROGRAM)
def test_a_rule_is_known_to_its_own_file_and_to_the_registry(rule: type[CommitRule]) -> None:
    composed = {"engine/decoding/commit/stability.py"} if rule.__name__ == "Threshold" else set()
    assert files_with(rule.__name__) == {file_of(rule), "engine/decoding/commit/registry.py"} | composed


@pytest.mark.parametrize("rule", [rule for rule in RULES_OF_THE_PROGRAM if rule.PARAMETER not in BUILT_UPON])
def test_its_parameter_is_known_to_its_own_file_and_where_parameters_are_declared(rule: type[CommitRule]) -> None:
    assert files_with(rule.PARAMETER) == DECLARED | {file_of(rule)}
