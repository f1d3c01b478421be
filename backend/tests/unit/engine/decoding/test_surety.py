from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.canvas.canvas import Canvas
from app.engine.decoding.step import Prediction
from app.engine.decoding.surety import Revision, Surety
from app.engine.families.registry import build_sampler
from app.engine.interface.params import DecodingParams
from tests.unit.engine.oracle import MASK, Oracle, config_of

INFINITE = float("inf")


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=12), st.floats(0.01, 1))
def test_a_threshold_takes_all_above_it_or_the_best(scores: list[float], threshold: float) -> None:
    surety = Surety(DecodingParams(12, confidence_threshold=threshold))
    above = [index for index, score in enumerate(scores) if score >= threshold]
    assert surety.sure(range(12), scores) == above
    assert surety.choose(range(12), scores) == (above or [scores.index(max(scores))])


@pytest.mark.parametrize(
    "rule",
    [{"confidence_factor": 0.1}, {"confidence_threshold": 0.9, "local_threshold": 0.5}, {"confidence_threshold": 0.9}],
)
def test_where_nothing_is_sure_the_best_is_committed_and_known_to_be_a_guess(rule: dict[str, float]) -> None:
    surety = Surety(DecodingParams(3, **rule))  # type: ignore[arg-type]
    assert surety.sure([4, 5, 6], [0.1, 0.3, 0.2]) == []
    assert surety.choose([4, 5, 6], [0.1, 0.3, 0.2]) == [1]


def test_a_distribution_must_have_been_calm_for_two_steps() -> None:
    surety = Surety(DecodingParams(4, confidence_threshold=0.5, stability_bound=0.1))
    assert surety.choose([7, 8, 9], [0.9, 0.8, 0.7], [INFINITE] * 3) == [0]  # none is calm yet: the best
    assert surety.choose([8, 9], [0.8, 0.9], [0.01, 0.01]) == [1]  # calm once: still the best alone
    assert surety.choose([8, 9], [0.8, 0.4], [0.01, 0.01]) == [0]  # calm twice, and sure enough
    assert surety.choose([9], [0.4], [0.2]) == [0]
    assert surety.choose([9, 10], [0.6, 0.7], [0.0, 0.0]) == [1]  # a move begins the count anew


@given(st.lists(st.tuples(st.integers(0, 5), st.lists(st.floats(0, 1), min_size=40, max_size=40)), max_size=12))
def test_a_revision_takes_back_less_than_the_step_before_committed(steps: list[tuple[int, list[float]]]) -> None:
    revision, last, start = Revision(0.5), 0, 0
    for num_committed, support in steps:
        revisable = revision.revisable
        committed = range(start, start + num_committed)
        revoked = revision.revoked(support[: len(revisable)], committed)
        assert len(revoked) <= max(last - 1, 0)
        assert set(revoked) <= set(revisable)
        assert set(revision.revisable) == (set(revisable) | set(committed)) - set(revoked)
        last, start = num_committed, start + num_committed


def test_the_least_supported_commits_are_taken_back() -> None:
    revision = Revision(0.5)
    revision.revoked([], [4, 5, 6])
    assert revision.revoked([0.4, 0.9, 0.1], [7, 8]) == [4, 6]
    assert revision.revisable == (5, 7, 8)
    assert revision.revoked([0.0, 0.0, 0.0], [9]) == []  # after a commit that was forced nothing is judged


def draft(seed: int, threshold: float, doubt: float) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Commits and revocations of each step, on an oracle that supports every token by a coin of its own."""
    params = DecodingParams(12, block_length=6, confidence_threshold=threshold, revoke_threshold=doubt)
    canvas, oracle, steps = Canvas([5], 12, [6], MASK), Oracle(seed), []
    sampler = build_sampler("llada", canvas, params, config_of("llada").special)
    while (plan := sampler.plan(canvas, None)) is not None:  # type: ignore[arg-type]
        predicted = oracle.predict(canvas.ids, plan.positions, plan.rules)
        support = oracle.predict(canvas.ids, plan.revisable, plan.rules).confidences
        edits = sampler.apply(
            canvas,
            plan,
            Prediction(predicted.token_ids, predicted.scores, predicted.confidences, support=support),
            None,  # type: ignore[arg-type]
        )
        assert set(edits.revoked) <= set(plan.revisable)
        assert all(canvas.ids[position] == MASK for position in edits.revoked)
        start = sampler.revisable_from
        assert start is None or (MASK in canvas.ids[start : start + 6] and MASK not in canvas.ids[1:start])
        steps.append((tuple(position for position, _, _ in edits.committed), edits.revoked))
    assert not canvas.masked()
    return steps


@given(st.integers(0, 2**32), st.floats(0.1, 0.9), st.floats(0.1, 0.9))
def test_a_draft_is_revised_block_by_block_and_ends(seed: int, threshold: float, doubt: float) -> None:
    steps = draft(seed, threshold, doubt)
    assert len(steps) <= 12
    assert sum(len(committed) - len(revoked) for committed, revoked in steps) == 12


def test_drafts_are_revised_at_all() -> None:
    assert any(revoked for seed in range(5) for _, revoked in draft(seed, 0.3, 0.8))


@pytest.mark.parametrize("doubt", [1e-9, 1.0])
def test_the_threshold_of_doubt_is_obeyed(doubt: float) -> None:
    revoked = [position for _, positions in draft(3, 0.3, doubt) for position in positions]
    assert bool(revoked) == (doubt == 1.0)
