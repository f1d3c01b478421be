from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.canvas.canvas import Canvas
from app.engine.decoding.commit.revoke import Revoke, drafted
from app.engine.decoding.selection import best
from app.engine.decoding.step import Prediction
from app.engine.families.registry import family_named
from app.engine.interface.params import DecodingParams
from tests.unit.engine.oracle import MASK, Oracle, config_of


def revoking(threshold: float) -> Revoke:
    return Revoke(DecodingParams(12, confidence_threshold=0.9, revoke_threshold=threshold))


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=60), st.floats(0.1, 0.9))
def test_a_draft_has_a_limit(sure: list[float], threshold: float) -> None:
    chosen = drafted(sure, threshold)
    assert len(chosen) <= max(5, min(20, 0.7 * len(sure)))
    assert chosen == best(sure, len(chosen))
    assert all(sure[index] > threshold for index in chosen)


@given(st.lists(st.tuples(st.integers(0, 5), st.lists(st.floats(0, 1), min_size=40, max_size=40)), max_size=12))
def test_a_revision_takes_back_less_than_the_step_before_committed(steps: list[tuple[int, list[float]]]) -> None:
    rule, last, start = revoking(0.5), 0, 0
    for num_committed, support in steps:
        revisable = rule.revisable
        committed = range(start, start + num_committed)
        revoked = rule.revoked(support[: len(revisable)], committed)
        assert len(revoked) <= max(last - 1, 0)
        assert set(revoked) <= set(revisable)
        assert set(rule.revisable) == (set(revisable) | set(committed)) - set(revoked)
        last, start = num_committed, start + num_committed


def test_the_least_supported_commits_are_taken_back() -> None:
    rule = revoking(0.5)
    rule.revoked([], [4, 5, 6])
    assert rule.revoked([0.4, 0.9, 0.1], [7, 8]) == [4, 6]
    assert rule.revisable == (5, 7, 8)
    assert rule.revoked([0.0, 0.0, 0.0], [9]) == []  # after a commit that was forced nothing is judged


def draft(seed: int, threshold: float, doubt: float) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Commits and revocations of each step, on an oracle that supports every token by a coin of its own."""
    params = DecodingParams(12, block_length=6, confidence_threshold=threshold, revoke_threshold=doubt)
    canvas, oracle, steps = Canvas([5], 12, [6], MASK), Oracle(seed), []
    sampler = family_named("llada").sampler(canvas, params, config_of("llada").special)
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
