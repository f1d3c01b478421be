"""Biases and penalties, beside a plain loop, and beside what a sampler or a constraint says of the same tokens."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from app.engine.constraint.graph import OPEN
from app.engine.constraint.lattice import Lattice
from app.engine.decoding.adjustment import NO_ADJUSTMENT, Adjustment, bias_of, penalises
from app.engine.decoding.constrained import ConstrainedRows, predict_constrained
from app.engine.decoding.rules import LogitRules, Score
from app.engine.decoding.sampling import predict
from app.engine.interface.params import DecodingParams
from tests.unit.engine.constraint.automata import automaton_of

VOCAB_SIZE, NUM_ROWS = 37, 3
GREEDY = LogitRules(Score.PROBABILITY, 0.0, None, None, scores_see_filters=False)
SAMPLED = replace(GREEDY, temperature=1.0)
seeds = st.integers(0, 2**32)
ids = st.integers(0, VOCAB_SIZE - 1)
signed = st.floats(-2, 2)
biases = st.dictionaries(ids, st.floats(-100, 100), max_size=9).map(lambda biases: tuple(biases.items()))
counts = st.dictionaries(ids, st.integers(1, 50), max_size=9).map(lambda counts: tuple(sorted(counts.items())))
bans = st.sets(st.tuples(st.integers(0, NUM_ROWS - 1), ids), max_size=9).map(lambda pairs: tuple(sorted(pairs)))
adjustments = st.builds(Adjustment, biases, counts, st.floats(1, 2), signed, signed)


def random_logits(seed: int, num_rows: int = NUM_ROWS) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 3, (num_rows, VOCAB_SIZE)).astype(np.float32))


def adjusted(logit: float, token_id: int, by: Adjustment) -> float:
    """The logit of one token as the documentation has it."""
    logit += dict(by.bias).get(token_id, 0.0)
    count = dict(by.counts).get(token_id, 0)
    if count:
        logit = logit / by.repetition_penalty if logit > 0 else logit * by.repetition_penalty
        logit -= count * by.frequency_penalty + by.presence_penalty
    return logit


@given(seeds, adjustments)
def test_every_logit_is_that_of_the_plain_loop(seed: int, by: Adjustment) -> None:
    logits = random_logits(seed)
    given_logits = logits.clone()
    expected = [[adjusted(logit, column, by) for column, logit in enumerate(row)] for row in logits.tolist()]
    np.testing.assert_allclose(by.apply(logits).numpy(), expected, rtol=1e-5, atol=1e-4)
    assert torch.equal(logits, given_logits), "what the model gave is read again, for log-probabilities"


@given(seeds, adjustments)
def test_a_row_is_adjusted_to_the_same_bits_in_any_batch(seed: int, by: Adjustment) -> None:
    logits = random_logits(seed)
    together = by.apply(logits)
    assert all(torch.equal(by.apply(logits[[row]]), together[[row]]) for row in range(NUM_ROWS))


def test_nothing_is_copied_where_nothing_changes() -> None:
    logits = random_logits(0)
    assert NO_ADJUSTMENT.apply(logits) is logits
    assert Adjustment(repetition_penalty=1.2, frequency_penalty=1.0).apply(logits) is logits


def test_a_request_without_biases_and_penalties_asks_for_nothing() -> None:
    assert not penalises(DecodingParams(1))
    assert bias_of(DecodingParams(1)) == bias_of(DecodingParams(1, logit_bias={})) == ()
    assert penalises(DecodingParams(1, repetition_penalty=1.1))
    assert penalises(DecodingParams(1, frequency_penalty=-0.5))
    assert penalises(DecodingParams(1, presence_penalty=0.5))


@given(seeds, st.sets(ids, min_size=1, max_size=20))
def test_a_bias_of_minus_a_hundred_bans_and_one_of_a_hundred_decides(seed: int, named: set[int]) -> None:
    logits = random_logits(seed, 200)
    uniforms = torch.linspace(1e-9, 1 - 1e-9, 200, dtype=torch.float64)
    for size, is_chosen in ((-100.0, False), (100.0, True)):
        by = Adjustment(tuple((token_id, size) for token_id in named))
        for rules, draws in ((GREEDY, None), (SAMPLED, uniforms)):
            tokens, _, confidences = predict(by.apply(logits), rules, draws).tolist()
            assert all((int(token) in named) is is_chosen for token in tokens)
            if is_chosen and len(named) == 1:
                assert confidences == pytest.approx([1.0] * 200)


@given(seeds, adjustments, bans)
def test_what_would_repeat_a_run_is_impossible_in_its_row_and_nothing_else_changes(
    seed: int, by: Adjustment, pairs: tuple[tuple[int, int], ...]
) -> None:
    logits = random_logits(seed)
    others = torch.ones_like(logits, dtype=torch.bool)
    for row, token_id in pairs:
        others[row, token_id] = False
    banning = replace(by, repeating=pairs).apply(logits)
    assert torch.equal(banning[others], by.apply(logits).float()[others])
    assert not banning.softmax(-1)[~others].any()


@given(seeds, ids, st.sampled_from(["banned", "undrawn"]))
def test_what_a_sampler_forbids_no_bias_allows(seed: int, token_id: int, kind: str) -> None:
    rules = replace(GREEDY, banned=(token_id,)) if kind == "banned" else replace(GREEDY, undrawn=(token_id,))
    logits = Adjustment(((token_id, 100.0),)).apply(random_logits(seed))
    uniforms = torch.full((NUM_ROWS,), 0.5, dtype=torch.float64)
    for each, draws in ((rules, None), (replace(rules, temperature=1.0), uniforms)):
        assert token_id not in predict(logits, each, draws)[0].tolist()


@pytest.mark.parametrize("uniforms", [[], [0.1, 0.5, 0.9]])
def test_a_constraint_decides_against_any_bias(uniforms: list[float]) -> None:
    """The texts `0 1 2` and `0 1 3`, both banned, against a bias for 6."""
    automaton = automaton_of({(0, 0): 1, (1, 1): 2, (2, 2): 3, (2, 3): 3}, {3}, VOCAB_SIZE)
    rows = tuple(range(NUM_ROWS))
    constrained = ConstrainedRows(Lattice(automaton, 0, (OPEN,) * NUM_ROWS, automaton.accepting, rows))
    by = Adjustment(((0, -100.0), (1, -100.0), (2, -100.0), (3, -90.0), (6, 100.0)))
    rules = replace(SAMPLED if uniforms else GREEDY, top_k=5, min_p=0.1)
    tokens, _, confidences = predict_constrained(by.apply(random_logits(1)), rules, uniforms, constrained).tolist()
    assert tokens == [0, 1, 3], "among what is allowed biases decide"
    assert all(0.9 < confidence <= 1 + 1e-6 for confidence in confidences)
