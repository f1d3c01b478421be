from __future__ import annotations

import pytest

from app.engine.decoding.commit.counts import Counts
from app.engine.decoding.commit.registry import RULES, rule_of
from app.engine.decoding.commit.rule import Candidates, CommitRule
from app.engine.interface.params import DecodingParams


def test_a_request_that_switches_no_rule_on_commits_what_the_schedule_says() -> None:
    params = DecodingParams(3)
    assert rule_of(params) is Counts
    candidates = Candidates([4, 5, 6], [0.1, 0.3, 0.2])
    assert [Counts(params).choose(candidates, least) for least in (0, 1, 2, 5)] == [[], [1], [1, 2], [1, 2, 0]]


@pytest.mark.parametrize("rule", RULES)
def test_the_rule_that_refines_another_decides_in_its_place(rule: type[CommitRule]) -> None:
    given = {name: 0.5 for name in (rule.PARAMETER, rule.REFINES) if name is not None}
    assert rule_of(DecodingParams(3, **given)) is rule  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "given",
    [
        {"confidence_factor": 0.1},
        {"confidence_margin": 0.0},
        {"confidence_threshold": 0.9, "local_threshold": 0.5},
        {"confidence_threshold": 0.9},
    ],
)
def test_the_best_is_committed_if_nothing_is_confident(given: dict[str, float]) -> None:
    params = DecodingParams(3, **given)  # type: ignore[arg-type]
    rule, candidates = rule_of(params)(params), Candidates([4, 5, 6], [0.1, 0.3, 0.2])
    assert rule.confident(candidates) == []
    assert rule.choose(candidates) == [1]
