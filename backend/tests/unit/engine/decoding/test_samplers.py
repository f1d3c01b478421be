"""Each sampler against a plain transcription of the published loop, both fed by the same oracle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.canvas.canvas import Canvas
from app.engine.decoding.rules import LogitRules, Score
from app.engine.decoding.schedule import origin_transfer_probability, timesteps
from app.engine.decoding.step import Prediction, StepPlan
from app.engine.decoding.variable_length import VariableLengthSampler
from app.engine.families.registry import family_named
from app.engine.interface.errors import InvalidRequest
from app.engine.interface.params import DecodingParams
from tests.unit.engine.oracle import EOS, EXPAND, MASK, TOKENS, TURN, Oracle, SamplerStep, config_of, run_sampler

RULES = LogitRules(Score.PROBABILITY, 0.0, None, None, scores_see_filters=False)
texts = st.lists(st.sampled_from([5, 6, MASK]), max_size=3)
"""Given text, in which a mask is tolerated."""
seeds = st.integers(0, 2**32)


def steps_of(family: str, canvas: Canvas, params: DecodingParams, oracle: Oracle) -> list[SamplerStep]:
    sampler = family_named(family).sampler(canvas, params, config_of(family).special)
    return run_sampler(sampler, canvas, oracle, seed=params.seed)


def canvases(steps: Sequence[SamplerStep]) -> list[tuple[int, ...]]:
    return [step.after for step in steps]


def commits(steps: Sequence[SamplerStep]) -> list[int]:
    return [len(step.edits.committed) for step in steps]


def masked(ids: Sequence[int]) -> list[int]:
    return [index for index, token_id in enumerate(ids) if token_id == MASK]


def best_positions(predicted: Prediction, positions: Sequence[int], count: int) -> list[tuple[int, int]]:
    """(position, token) of the `count` highest scores; an oracle's scores are all different."""
    ranking = sorted(zip(predicted.scores, positions, predicted.token_ids, strict=True), reverse=True)
    return [(position, token_id) for _, position, token_id in ranking[:count]]


# -- LLaDA ------------------------------------------------------------------------------------------------------------


def published_llada(ids: list[int], blocks: list[tuple[int, int, int]], oracle: Oracle) -> list[tuple[int, ...]]:
    """ML-GSAI/LLaDA, `generate.py`; a block is (start, end, steps)."""
    history = []
    for start, end, num_steps in blocks:
        num_masks = ids[start:end].count(MASK)
        for step in range(num_steps):
            count = num_masks // num_steps + (step < num_masks % num_steps)
            candidates = [index for index in masked(ids) if index < end]
            for position, token_id in best_positions(oracle.predict(ids, candidates, RULES), candidates, count):
                ids[position] = token_id
            history.append(tuple(ids))
    return history


@given(texts, st.integers(1, 4), st.integers(1, 4), st.integers(1, 5), texts, seeds)
def test_llada_walks_through_blocks_as_published(
    prefix: list[int], num_blocks: int, block_length: int, steps_per_block: int, suffix: list[int], seed: int
) -> None:
    oracle, length = Oracle(seed, (MASK,)), num_blocks * block_length
    canvas = Canvas(prefix, length, suffix, MASK)
    starts = range(len(prefix), len(prefix) + length, block_length)
    expected = published_llada(
        list(canvas.ids), [(start, start + block_length, steps_per_block) for start in starts], oracle
    )
    params = DecodingParams(length, block_length=block_length, steps=steps_per_block * num_blocks, run_to_end=True)
    assert canvases(steps_of("llada", canvas, params, oracle)) == expected


def test_llada_spreads_uneven_steps_over_uneven_blocks() -> None:
    canvas = Canvas([5], 10, [], MASK)
    steps = steps_of("llada", canvas, DecodingParams(10, block_length=4, steps=8), Oracle(0))
    # Blocks of 4, 4 and 2 masks in 3, 3 and 2 steps.
    assert commits(steps) == [2, 1, 1, 2, 1, 1, 1, 1]
    assert [steps[first].plan.positions for first in (0, 3, 6)] == [(1, 2, 3, 4), (5, 6, 7, 8), (9, 10)]


@given(st.integers(1, 12), st.none() | st.integers(1, 13), st.none() | st.integers(1, 14), seeds)
def test_llada_fills_every_block_before_the_next_one(
    length: int, block_length: int | None, steps: int | None, seed: int
) -> None:
    canvas = Canvas([5, 6], length, [7], MASK)
    history = steps_of("llada", canvas, DecodingParams(length, block_length=block_length, steps=steps), Oracle(seed))
    assert not canvas.masked()
    for step in history:
        leftmost = (min(masked(step.before)) - 2) // (block_length or length)
        assert {(position - 2) // (block_length or length) for position, _, _ in step.edits.committed} == {leftmost}


@given(st.integers(1, 8), st.integers(1, 20), seeds)
def test_steps_without_commits_are_left_out_unless_they_are_asked_for(length: int, steps: int, seed: int) -> None:
    params = DecodingParams(length, steps=steps, block_length=3)
    some = steps_of("llada", Canvas([5], length, [], MASK), params, Oracle(seed))
    all_of_them = steps_of("llada", Canvas([5], length, [], MASK), replace(params, run_to_end=True), Oracle(seed))
    assert [step for step in all_of_them if step.edits.committed] == some
    assert len(all_of_them) == max(steps, -(-length // 3))


def published_threshold(
    ids: list[int], blocks: list[tuple[int, int]], threshold: float, oracle: Oracle
) -> list[tuple[int, ...]]:
    """Fast-dLLM, `generate.py`, with a threshold and without a cache."""
    history = []
    for start, end in blocks:
        while MASK in ids[start:end]:
            candidates = [index for index in masked(ids) if index < end]
            predicted = oracle.predict(ids, candidates, RULES)
            sure = sum(score >= threshold for score in predicted.scores)
            for position, token_id in best_positions(predicted, candidates, max(sure, 1)):
                ids[position] = token_id
            history.append(tuple(ids))
    return history


@given(texts, st.integers(1, 4), st.integers(1, 4), st.floats(0.01, 1), seeds)
def test_a_threshold_commits_all_confident_predictions_and_at_least_the_best(
    prefix: list[int], num_blocks: int, block_length: int, threshold: float, seed: int
) -> None:
    length = num_blocks * block_length
    canvas = Canvas(prefix, length, [], MASK)
    starts = range(len(prefix), len(prefix) + length, block_length)
    blocks = [(start, start + block_length) for start in starts]
    expected = published_threshold(list(canvas.ids), blocks, threshold, Oracle(seed))
    params = DecodingParams(length, block_length=block_length, confidence_threshold=threshold)
    assert canvases(steps_of("llada", canvas, params, Oracle(seed))) == expected


@pytest.mark.parametrize("rule", [{"confidence_factor": 2.0}, {"confidence_margin": 0.1}, {"entropy_bound": 0.5}])
@given(seed=seeds)
def test_other_commit_rules_fill_one_block_after_the_other_too(rule: dict[str, float], seed: int) -> None:
    canvas = Canvas([5], 9, [], MASK)
    steps = steps_of("llada", canvas, DecodingParams(9, block_length=3, **rule), Oracle(seed))  # type: ignore[arg-type]
    blocks = [{(position - 1) // 3 for position, _, _ in step.edits.committed} for step in steps]
    assert all(len(block) == 1 for block in blocks)
    assert [block for step in blocks for block in step] == sorted(block for step in blocks for block in step)
    assert not canvas.masked()


def test_a_wide_entropy_bound_commits_a_block_at_once_and_a_narrow_one_token_by_token() -> None:
    def num_steps(bound: float) -> int:
        params = DecodingParams(8, block_length=4, entropy_bound=bound)
        return len(steps_of("llada", Canvas([5], 8, [], MASK), params, Oracle(1)))

    assert num_steps(1000.0) == 2
    assert num_steps(0.0) == 8


def test_a_threshold_ends_although_the_model_predicts_nothing_but_masks() -> None:
    canvas = Canvas([5], 4, [], MASK)
    mute = Oracle(0, (MASK,), devotion=1.0)
    assert len(steps_of("llada", canvas, DecodingParams(4, confidence_threshold=0.9), mute)) == 4


def random_order(seed: int) -> list[tuple[int, ...]]:
    params = DecodingParams(8, algorithm="random", steps=4, seed=seed)
    return canvases(steps_of("llada", Canvas([5], 8, [], MASK), params, Oracle(1)))


def test_random_remasking_is_reproduced_by_its_seed_alone() -> None:
    assert random_order(3) == random_order(3)
    assert len({tuple(random_order(seed)) for seed in range(10)}) > 5


@given(st.integers(1, 9), st.integers(1, 9), seeds)
def test_random_remasking_keeps_the_schedule(length: int, steps: int, seed: int) -> None:
    canvas = Canvas([5], length, [], MASK)
    history = steps_of("llada", canvas, DecodingParams(length, algorithm="random", steps=steps, seed=seed), Oracle(0))
    surest = steps_of("llada", Canvas([5], length, [], MASK), DecodingParams(length, steps=steps), Oracle(0))
    assert commits(history) == commits(surest)
    assert not canvas.masked()


def test_every_position_is_equally_likely_under_random_remasking() -> None:
    params = DecodingParams(4, algorithm="random")
    first = [
        steps_of("llada", Canvas([5], 4, [], MASK), replace(params, seed=seed), Oracle(1))[0].edits.committed[0][0]
        for seed in range(1200)
    ]
    # Three degrees of freedom: 21.1 is exceeded once in ten thousand runs, and the seeds are fixed.
    assert ((np.bincount(first, minlength=5)[1:] - 300) ** 2 / 300).sum() < 21.1


def llada_rules(**changes: Any) -> LogitRules:
    canvas = Canvas([5], 2, [], MASK)
    params = replace(DecodingParams(2, end_of_turn=TURN), **changes)
    sampler = family_named("llada").sampler(canvas, params, config_of("llada").special)
    plan = sampler.plan(canvas, np.random.default_rng(0))
    assert plan is not None
    return plan.rules


def test_llada_scores_without_filters() -> None:
    assert llada_rules(top_p=0.9, top_k=5) == LogitRules(Score.PROBABILITY, 0.0, 0.9, 5, scores_see_filters=False)


def test_the_end_of_the_text_can_be_banned() -> None:
    assert llada_rules(eos_never_predicted=True).banned == (EOS,)


@pytest.mark.parametrize("family", ["llada", "dream"])
def test_all_of_several_ends_are_banned_together(family: str) -> None:
    canvas, special = Canvas([5], 2, [], MASK), config_of(family, other_ends=(22, 23)).special
    sampler = family_named(family).sampler(canvas, DecodingParams(2, steps=1, eos_never_predicted=True), special)
    plan = sampler.plan(canvas, np.random.default_rng(0))
    assert plan is not None
    assert plan.rules.banned == (EOS, 22, 23)


def test_the_end_of_the_text_can_come_last() -> None:
    assert llada_rules(eos_last=True).unscored == (EOS, TURN)
    # As published: above temperature 0 only the end of turn loses its score.
    assert llada_rules(eos_last=True, temperature=0.5).unscored == (TURN,)
    assert llada_rules(eos_last=True, end_of_turn=None, temperature=0.5).unscored == ()


# -- Dream ------------------------------------------------------------------------------------------------------------


def published_dream(ids: list[int], num_steps: int, eps: float, oracle: Oracle) -> list[tuple[int, ...]]:
    """DreamLM/Dream, `generation_utils.py`, with the positions chosen by their score."""
    times, history = np.array(timesteps(num_steps, eps)), []
    for step in range(num_steps):
        candidates = masked(ids)
        share = np.float32(1) - times[step + 1] / times[step] if step < num_steps - 1 else 1
        count = int(np.float32(len(candidates)) * share)
        for position, token_id in best_positions(oracle.predict(ids, candidates, RULES), candidates, count):
            ids[position] = token_id
        history.append(tuple(ids))
    return history


@given(texts, st.integers(1, 9), st.integers(1, 12), texts, st.sampled_from([1e-3, 0.1]), seeds)
def test_dream_follows_its_time_schedule_as_published(
    prefix: list[int], length: int, num_steps: int, suffix: list[int], eps: float, seed: int
) -> None:
    oracle, canvas = Oracle(seed, (MASK,)), Canvas(prefix, length, suffix, MASK)
    expected = published_dream(list(canvas.ids), num_steps, eps, oracle)
    params = DecodingParams(length, steps=num_steps, timestep_eps=eps, algorithm="maskgit_plus", run_to_end=True)
    assert canvases(steps_of("dream", canvas, params, oracle)) == expected


def test_dream_takes_given_counts_in_place_of_the_schedule() -> None:
    canvas = Canvas([5], 6, [], MASK)
    params = DecodingParams(6, transfer_counts=(2, 0, 3, 1), steps=99)
    assert commits(steps_of("dream", canvas, params, Oracle(0))) == [2, 3, 1]


@pytest.mark.parametrize(
    ("algorithm", "score"),
    [(None, "NEGATIVE_ENTROPY"), ("maskgit_plus", "PROBABILITY"), ("topk_margin", "MARGIN"), ("origin", "PROBABILITY")],
)
def test_dream_scores_by_algorithm_and_sees_the_filters(algorithm: str | None, score: str) -> None:
    canvas = Canvas([5], 2, [], MASK)
    steps = steps_of("dream", canvas, DecodingParams(2, algorithm=algorithm, top_p=0.9, top_k=5), Oracle(0))
    assert steps[0].plan.rules == LogitRules(Score[score], 0.0, 0.9, 5, scores_see_filters=True)


@pytest.mark.parametrize("rule", ["confidence_threshold", "confidence_factor", "confidence_margin", "entropy_bound"])
def test_beside_a_commit_rule_dreamon_is_as_sure_as_the_model(rule: str) -> None:
    params = DecodingParams(2, temperature=0.01, top_k=1)
    switched_on: dict[str, Any] = {rule: 0.5}
    for asked, are_own in ((params, False), (replace(params, **switched_on), True)):
        steps = steps_of("dreamon", Canvas([5], 2, [], MASK), asked, Oracle(0))
        rules = steps[0].plan.rules
        assert (rules.confidences_are_own, rules.scores_see_filters) == (are_own, asked.entropy_bound is None)


@given(st.integers(1, 10), st.integers(1, 12), st.sampled_from(["origin", "entropy"]), st.floats(0, 3), seeds)
def test_random_positions_fill_every_mask_in_the_end(
    length: int, steps: int, algorithm: str, alg_temp: float, seed: int
) -> None:
    canvas = Canvas([5], length, [], MASK)
    params = DecodingParams(length, steps=steps, algorithm=algorithm, alg_temp=alg_temp, seed=seed)
    assert sum(commits(steps_of("dream", canvas, params, Oracle(seed)))) == length
    assert not canvas.masked()


@given(st.integers(1, 10), st.integers(1, 12), st.floats(0.1, 3), seeds)
def test_alg_temp_changes_the_positions_and_not_their_number(
    length: int, steps: int, alg_temp: float, seed: int
) -> None:
    params = DecodingParams(length, steps=steps, seed=seed)
    drawn = steps_of("dream", Canvas([5], length, [], MASK), replace(params, alg_temp=alg_temp), Oracle(seed))
    taken = steps_of("dream", Canvas([5], length, [], MASK), params, Oracle(seed))
    assert commits(drawn) == commits(taken)


def test_alg_temp_draws_positions_by_their_scores() -> None:
    canvas, num_runs, alg_temp = Canvas([5], 3, [], MASK), 2000, 0.4
    scores = Oracle(0).predict(canvas.ids, [1, 2, 3], RULES).scores
    params = DecodingParams(3, transfer_counts=(1, 1, 1), alg_temp=alg_temp)
    first = [
        steps_of("dream", Canvas([5], 3, [], MASK), replace(params, seed=seed), Oracle(0))[0].edits.committed[0][0]
        for seed in range(num_runs)
    ]
    weights = np.exp(np.array(scores) / alg_temp)
    expected = num_runs * weights / weights.sum()
    # Two degrees of freedom: 18.4 is exceeded once in ten thousand runs, and the seeds are fixed.
    assert ((np.bincount(first, minlength=4)[1:] - expected) ** 2 / expected).sum() < 18.4


def test_origin_commits_each_mask_with_the_probability_of_its_step() -> None:
    length, num_runs, times = 6, 1000, timesteps(4, 1e-3)
    params = DecodingParams(length, steps=4, algorithm="origin", run_to_end=True)
    by_step = np.array(
        [
            commits(steps_of("dream", Canvas([5], length, [], MASK), replace(params, seed=seed), Oracle(0)))
            for seed in range(num_runs)
        ]
    )
    left = length - np.cumsum(by_step, axis=1) + by_step
    for step in range(4):
        probability, trials = origin_transfer_probability(step, times), left[:, step].sum()
        # Five standard deviations, and the seeds are fixed.
        slack = 5 * np.sqrt(trials * probability * (1 - probability))
        assert abs(by_step[:, step].sum() - trials * probability) <= slack


# -- DreamOn ----------------------------------------------------------------------------------------------------------


def published_dreamon(
    ids: list[int], params: DecodingParams, oracle: Oracle
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The hub's DreamOn sampler, stopping at its limits; (canvas, banned ids) of every step."""
    largest = len(ids) - ids.count(MASK) + params.max_new_tokens
    room = largest - ids.index(MASK)
    budget = 2 * room if params.expand_budget is None else params.expand_budget
    history = []
    for _ in range(2 * room + 2 * budget):
        opened = masked(ids)
        if not opened:
            break
        banned: tuple[int, ...] = (EXPAND,) if len(ids) == largest or budget == 0 else ()
        predicted = oracle.predict(ids, opened, replace(RULES, banned=banned))
        for position, token_id in best_positions(predicted, opened, params.transfers_per_step):
            ids[position] = token_id
        if params.pad_delete_to_right and EOS in ids:
            ids = [EOS if p in opened and p >= ids.index(EOS) else i for p, i in enumerate(ids)]
        ids = [i for p, i in enumerate(ids) if not (p in opened and i == EOS)]
        for position in range(len(ids) - 1, -1, -1):
            if ids[position] == EXPAND:
                is_allowed = len(ids) < largest and budget > 0
                ids[position : position + 1] = [MASK] * (1 + is_allowed)
                budget -= is_allowed
        history.append((tuple(ids), banned))
    return history


dreamon_params = st.builds(
    DecodingParams,
    max_new_tokens=st.integers(4, 9),
    transfers_per_step=st.integers(1, 4),
    expand_budget=st.none() | st.integers(0, 5),
    pad_delete_to_right=st.booleans(),
)
given_texts = st.lists(st.sampled_from([5, 6, EOS]), max_size=3)


@given(given_texts, st.integers(1, 4), given_texts, dreamon_params, seeds)
def test_dreamon_edits_the_canvas_as_published(
    prefix: list[int], length: int, suffix: list[int], params: DecodingParams, seed: int
) -> None:
    oracle, canvas = Oracle(seed, (EXPAND, EXPAND, EOS, MASK)), Canvas(prefix, length, suffix, MASK)
    expected = published_dreamon(list(canvas.ids), params, oracle)
    steps = steps_of("dreamon", canvas, params, oracle)
    assert [(step.after, step.plan.rules.banned) for step in steps] == expected


@given(given_texts, st.integers(1, 4), given_texts, dreamon_params, seeds)
def test_a_growing_span_never_passes_its_limit_nor_harms_the_given_text(
    prefix: list[int], length: int, suffix: list[int], params: DecodingParams, seed: int
) -> None:
    canvas = Canvas(prefix, length, suffix, MASK)
    steps = steps_of("dreamon", canvas, params, Oracle(seed, (EXPAND, EXPAND, EXPAND, MASK)))
    for step in steps:
        end = len(step.after) - len(suffix)
        assert list(step.after[: len(prefix)]) == prefix
        assert list(step.after[end:]) == suffix
        assert end - len(prefix) <= params.max_new_tokens
    budget = 2 * (params.max_new_tokens + len(suffix)) if params.expand_budget is None else params.expand_budget
    assert sum(len(step.edits.expanded) for step in steps) <= budget


@given(given_texts, st.integers(1, 4), dreamon_params, seeds)
def test_the_edits_of_a_step_lead_from_one_canvas_to_the_next(
    prefix: list[int], length: int, params: DecodingParams, seed: int
) -> None:
    steps = steps_of("dreamon", Canvas(prefix, length, [7], MASK), params, Oracle(seed, (EXPAND, EOS)))
    for step in steps:
        committed = {position: token_id for position, token_id, _ in step.edits.committed}
        replayed: list[int] = []
        for position, token_id in enumerate(step.before):
            if position in step.edits.deleted:
                continue
            new = committed.get(position, token_id)
            replayed += [MASK, MASK] if position in step.edits.expanded else [MASK if new == EXPAND else new]
        assert tuple(replayed) == step.after


def test_an_end_of_text_before_the_gap_deletes_the_whole_span_under_pad_delete_to_right() -> None:
    canvas = Canvas([5, EOS, 6], 4, [7], MASK)
    steps = steps_of("dreamon", canvas, DecodingParams(4, pad_delete_to_right=True), Oracle(0))
    assert canvas.ids == [5, EOS, 6, 7]
    assert steps[-1].edits.deleted == (3, 4, 5, 6)


def delete_at(position: int) -> bool:
    """Whether the text counts as ended when the span's mask at `position` is deleted."""
    canvas = Canvas([5], 3, [], MASK)
    sampler = VariableLengthSampler(canvas, DecodingParams(3), config_of("dreamon").special)
    scores = [float(index + 1 == position) for index in range(3)]
    plan = StepPlan((1, 2, 3), RULES)
    sampler.apply(canvas, plan, Prediction([EOS] * 3, scores, scores), np.random.default_rng(0))
    assert canvas.ids == [5, MASK, MASK]
    return sampler.text_ended


def test_only_a_deletion_of_the_last_position_ends_the_text() -> None:
    assert [delete_at(position) for position in (1, 2, 3)] == [False, False, True]


def test_dreamon_needs_an_expand_token() -> None:
    with pytest.raises(InvalidRequest, match="no expand token"):
        family_named("dreamon").sampler(Canvas([], 1, [], MASK), DecodingParams(1), config_of("dream").special)


# -- cycles and confidence ---------------------------------------------------------------------------------------------


class Waverer(Oracle):
    """Wants one more place when there are two, and one less when there are three."""

    def _row(self, ids: Sequence[int], position: int, rules: LogitRules) -> tuple[int, float]:
        wish = EXPAND if ids.count(MASK) == 2 else EOS
        return (TOKENS[0] if wish in rules.banned else wish), 1.0 / (1 + position)


@pytest.mark.parametrize("approximation", [{"cache": "dual"}, {"confidence_threshold": 1.0}])
def test_a_repeated_canvas_ends_the_expansions_of_approximate_decoding(
    approximation: dict[str, Any],
) -> None:
    params = DecodingParams(8, initial_masks=2, **approximation)
    steps = steps_of("dreamon", Canvas([5], 2, [7], MASK), params, Waverer(0))
    assert len(steps) < 10
    assert sum(len(step.edits.expanded) for step in steps) == 2
    endless = steps_of("dreamon", Canvas([5], 2, [7], MASK), DecodingParams(8, initial_masks=2), Waverer(0))
    assert len(endless) > 30  # as published


def test_dreamon_also_commits_every_confident_prediction() -> None:
    canvas = Canvas([5], 6, [7], MASK)
    steps = steps_of("dreamon", canvas, DecodingParams(6, confidence_threshold=0.5), Oracle(4))
    assert not canvas.masked()
    for step in steps:
        sure = [confidence for _, _, confidence in step.edits.committed]
        assert len(sure) == 1 or sum(confidence >= 0.5 for confidence in sure) >= len(sure) - 1
    assert max(commits(steps)) > 1


def test_dreamon_commits_no_second_token_without_confidence() -> None:
    steps = steps_of("dreamon", Canvas([5], 6, [7], MASK), DecodingParams(6, confidence_threshold=1.0), Oracle(4))
    assert set(commits(steps)) == {1}
