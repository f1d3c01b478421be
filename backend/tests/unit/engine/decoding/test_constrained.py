"""Predictions under a constraint, beside all texts one by one and beside predictions without one."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from app.engine.constraint.automaton import TokenAutomaton
from app.engine.constraint.graph import OPEN
from app.engine.constraint.lattice import Lattice
from app.engine.constraint.posterior import Posterior
from app.engine.decoding.class_sums import ClassSums
from app.engine.decoding.constrained import ConstrainedRows, LengthTokens, predict_constrained
from app.engine.decoding.rules import LogitRules, Score
from app.engine.decoding.sampling import predict
from tests.profiles import is_thorough
from tests.unit.engine.constraint.automata import automaton_of, class_logs, random_automaton, texts_of

VOCAB, LENGTH = 7, 3
GREEDY = LogitRules(Score.PROBABILITY, 0.0, None, None, scores_see_filters=False)
SAMPLED = LogitRules(Score.PROBABILITY, 1.0, None, None, scores_see_filters=False)
SEEDS = range(12)


def _automaton(seed: int) -> TokenAutomaton:
    while True:
        automaton = random_automaton(np.random.default_rng(seed), VOCAB)
        if automaton is not None and automaton.accepting_in(LENGTH)[0]:
            return automaton
        seed += 1000


def _anything() -> TokenAutomaton:
    return automaton_of({(0, token): 0 for token in range(VOCAB)}, {0}, VOCAB)


def _rows(automaton: TokenAutomaton, length: LengthTokens | None = None) -> ConstrainedRows:
    rows = tuple(range(LENGTH))
    lattice = Lattice(automaton, 0, (OPEN,) * LENGTH, automaton.accepting, rows, changes_length=length is not None)
    return ConstrainedRows(lattice, length)


def _logits(seed: int) -> torch.Tensor:
    return torch.from_numpy((np.random.default_rng(seed + 7).normal(size=(LENGTH, VOCAB)) * 2).astype(np.float32))


def _probabilities(automaton: TokenAutomaton, logits: torch.Tensor) -> dict[tuple[int, ...], float]:
    """Each allowed text and how probable it is among them."""
    probabilities = logits.double().softmax(-1).numpy()
    weights = {
        text: float(np.prod(probabilities[np.arange(LENGTH), list(text)]))
        for text in texts_of(automaton, LENGTH, VOCAB)
    }
    return {text: weight / sum(weights.values()) for text, weight in weights.items()}


@pytest.mark.parametrize("seed", SEEDS)
def test_greedy_tokens_are_the_most_probable_text_and_confidences_those_among_texts(seed: int) -> None:
    automaton, logits = _automaton(seed), _logits(seed)
    texts = _probabilities(automaton, logits)

    tokens, scores, confidences = predict_constrained(logits, GREEDY, [], _rows(automaton)).tolist()

    assert tuple(map(int, tokens)) == max(texts, key=lambda text: texts[text])
    expected = [sum(p for text, p in texts.items() if text[row] == tokens[row]) for row in range(LENGTH)]
    np.testing.assert_allclose(confidences, expected, rtol=1e-5)
    assert scores == confidences


@pytest.mark.parametrize("seed", range(3))
def test_drawn_texts_are_as_frequent_as_they_are_probable(seed: int) -> None:
    automaton, logits, rng = _automaton(seed), _logits(seed), np.random.default_rng(seed)
    texts, count = _probabilities(automaton, logits), 3000 if is_thorough() else 1000

    drawn: dict[tuple[int, ...], int] = {}
    for _ in range(count):
        tokens = predict_constrained(logits, SAMPLED, rng.random(LENGTH).tolist(), _rows(automaton))[0]
        text = tuple(int(token) for token in tokens)
        drawn[text] = drawn.get(text, 0) + 1

    assert set(drawn) <= set(texts)
    likely = [text for text, probability in texts.items() if count * probability >= 5]
    statistic = sum((drawn.get(t, 0) - count * texts[t]) ** 2 / (count * texts[t]) for t in likely)
    assert statistic < len(likely) + 5 * np.sqrt(2 * len(likely)) + 25  # by chance once in a million


@pytest.mark.parametrize("score", Score)
@pytest.mark.parametrize(
    "filters", [(None, None, 0.0), (0.7, None, 0.0), (None, 2, 0.0), (0.9, 3, 0.0), (None, 5, 0.3)]
)
@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_a_constraint_that_allows_everything_changes_nothing(
    score: Score, filters: tuple[float | None, int | None, float], temperature: float
) -> None:
    logits = _logits(1)
    for sees_filters, are_own in ((False, False), (True, False), (True, True)):
        top_p, top_k, min_p = filters
        rules = LogitRules(score, temperature, top_p, top_k, sees_filters, confidences_are_own=are_own, min_p=min_p)
        uniforms = [0.1, 0.5, 0.95] if temperature else []
        draws = torch.tensor(uniforms, dtype=torch.float64) if uniforms else None

        constrained = predict_constrained(logits, rules, uniforms, _rows(_anything()))

        expected = predict(logits, rules, draws)
        if not temperature:  # the same numbers draw other tokens, for these are in another order
            torch.testing.assert_close(constrained[0], expected[0])
            torch.testing.assert_close(constrained[1:], expected[1:], atol=1e-5, rtol=1e-5)
        assert {int(t) for t in constrained[0]} <= _allowed(logits, rules)


def _allowed(logits: torch.Tensor, rules: LogitRules) -> set[int]:
    """Tokens that draws without a constraint may give."""
    grid = torch.linspace(0, 1 - 1e-9, 200, dtype=torch.float64)
    return {int(t) for u in grid for t in predict(logits, rules, u.repeat(LENGTH) if rules.temperature else None)[0]}


@pytest.mark.parametrize("filters", [{"top_p": 0.5}, {"min_p": 0.2}])
def test_filters_look_at_what_a_position_may_become(filters: dict[str, Any]) -> None:
    """Two texts are allowed, `0 1 2` with 9 of 10 and `3 3 3`; the model would like to write 6 everywhere."""
    automaton = automaton_of({(0, 0): 1, (1, 1): 2, (2, 2): 3, (0, 3): 4, (4, 3): 5, (5, 3): 3}, {3}, VOCAB)
    logits = torch.full((LENGTH, VOCAB), -9.0)
    logits[:, 6] = 9.0
    logits[0, 0] = -9.0 + np.log(9.0)
    rules = replace(SAMPLED, scores_see_filters=True, **filters)

    tokens = predict_constrained(logits, rules, [0.99, 0.99, 0.99], _rows(automaton))[0].tolist()

    assert tokens == [0, 1, 2]


@pytest.mark.parametrize("filters", [{"top_k": 1}, {"min_p": 0.95}])
def test_filters_that_leave_no_text_are_passed_over(filters: dict[str, Any]) -> None:
    """The single most probable token of each position belongs to another text than that of the next."""
    moves = {(0, 0): 1, (1, 0): 2, (2, 1): 9, (0, 1): 3, (3, 1): 4, (4, 0): 9, (0, 2): 5, (5, 0): 6, (6, 0): 9}
    states = sorted({0, *moves.values()})
    automaton = automaton_of(
        {(states.index(q), t): states.index(n) for (q, t), n in moves.items()}, {states.index(9)}, VOCAB
    )
    logits = torch.zeros((LENGTH, VOCAB))
    logits[0, 1] = 0.5
    rules = replace(SAMPLED, scores_see_filters=True, **filters)

    tokens = predict_constrained(logits, rules, [0.5, 0.5, 0.5], _rows(automaton))[0].tolist()

    state = automaton.run([int(token) for token in tokens])
    assert state is not None
    assert automaton.accepting[state]


NUM_LONG = 400


def _no_or_free_text() -> ConstrainedRows:
    """A long canvas of a "no" (0) with ends (1) behind it, or of a thousand others in any order. After the "no" the
    text is certain, and after any other first token it has an entropy of thousands of nats."""
    classes = np.array([1, 2, *[3] * 1000], dtype=np.int32)
    ended, free = 1, range(2, 2 + NUM_LONG)
    edges = [(0, 1, ended), (0, 3, free[0]), (ended, 2, ended), *zip(free[:-1], [3] * NUM_LONG, free[1:], strict=False)]
    sources, labels, targets = np.array(edges, dtype=np.int32).T
    accepting = np.isin(np.arange(2 + NUM_LONG), [ended, free[-1]])
    automaton = TokenAutomaton(classes, sources, labels, targets, accepting)
    return ConstrainedRows(Lattice(automaton, 0, (OPEN,) * NUM_LONG, accepting, tuple(range(NUM_LONG))))


def _preferring_no(nats: float) -> torch.Tensor:
    return torch.tensor([nats, nats, *[0.0] * 1000]).expand(NUM_LONG, -1)


@pytest.mark.parametrize("uniforms", [[], [0.3] * NUM_LONG])
def test_a_certain_text_of_a_long_canvas_is_certain_beside_countless_others(uniforms: list[float]) -> None:
    """The logits give 4000 nats to the "no", and 400 · log 1000 = 2763 to the others together."""
    rules = SAMPLED if uniforms else GREEDY

    tokens, _, confidences = predict_constrained(_preferring_no(10.0), rules, uniforms, _no_or_free_text()).tolist()

    assert tokens == [0.0] + [1.0] * (NUM_LONG - 1)
    assert confidences == pytest.approx([1.0] * NUM_LONG)


def test_countless_texts_of_a_long_canvas_outweigh_a_probable_one() -> None:
    """The logits give 800 nats to the "no", and 2763 to the others together."""
    uniforms = [0.3] * NUM_LONG

    tokens, _, confidences = predict_constrained(_preferring_no(2.0), SAMPLED, uniforms, _no_or_free_text()).tolist()

    assert min(tokens) > 1
    assert confidences == pytest.approx([0.001] * NUM_LONG, rel=1e-4)


@pytest.mark.parametrize("seed", SEEDS)
def test_odds_of_another_length_are_those_of_the_texts_that_go_on_with_it(seed: int) -> None:
    automaton, logits = _automaton(seed), _logits(seed)
    _, sums = class_logs(logits.numpy(), automaton)
    posterior = Posterior(_rows(automaton, LengthTokens(5, 6)).lattice, sums)
    logs = logits[:, 6].double().numpy()

    odds = posterior.odds_without(logs)

    weights = logits.double().exp().numpy()
    texts = {
        text: float(np.prod(weights[np.arange(LENGTH), list(text)])) for text in texts_of(automaton, LENGTH, VOCAB)
    }
    for row in range(LENGTH):
        expected = 0.0
        for text, weight in texts.items():
            state = automaton.run(text[:row])
            assert state is not None
            shorter = _weight_of_all(automaton, weights[row + 1 :], state)
            expected += (
                weight
                / sum(texts.values())
                * weights[row, 6]
                * shorter
                / _weight_of_all(automaton, weights[row:], state)
            )
        assert odds[row] == pytest.approx(expected, rel=1e-5)


def _weight_of_all(automaton: TokenAutomaton, weights: np.ndarray, state: int) -> float:
    total = 0.0
    for text in product(range(VOCAB), repeat=len(weights)):
        end = automaton.run(text, state)
        if end is not None and automaton.accepting[end]:
            total += float(np.prod(weights[np.arange(len(weights)), list(text)]))
    return total


def test_a_length_is_changed_only_where_a_text_of_the_new_one_exists() -> None:
    """Texts of exactly three tokens 0: however the model wants to delete or expand, it may not. Any number of them: it
    may."""
    length = LengthTokens(delete=5, expand=6)
    logits = torch.zeros((LENGTH, VOCAB))
    logits[1, 5], logits[2, 6] = 20.0, 20.0
    three = automaton_of({(0, 0): 1, (1, 0): 2, (2, 0): 3}, {3}, VOCAB)
    any_number = automaton_of({(0, 0): 0}, {0}, VOCAB)

    assert predict_constrained(logits, GREEDY, [], _rows(three, length))[0].tolist() == [0, 0, 0]
    assert predict_constrained(logits, GREEDY, [], _rows(any_number, length))[0].tolist() == [0, 5, 6]
    for uniforms in ([0.1] * 3, [0.9] * 3):
        assert predict_constrained(logits, SAMPLED, uniforms, _rows(three, length))[0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("score", Score)
def test_confidences_of_a_row_that_may_change_its_length_add_up_to_one(score: Score) -> None:
    rules = LogitRules(score, 1.0, None, None, scores_see_filters=True)
    length = LengthTokens(delete=5, expand=6)
    automaton = automaton_of({(0, token): 0 for token in range(5)}, {0}, VOCAB)
    logits = _logits(3)
    seen: dict[int, float] = {}
    for uniform in np.linspace(0, 0.999, 400):
        tokens, _, confidences = predict_constrained(
            logits, rules, [float(uniform)] * LENGTH, _rows(automaton, length)
        ).tolist()
        seen[int(tokens[0])] = confidences[0]

    assert set(seen) == set(range(VOCAB))
    assert sum(seen.values()) == pytest.approx(1.0)


def test_small_sums_keep_their_precision() -> None:
    automaton = automaton_of({(0, 0): 0, (0, 1): 0, (0, 2): 0}, {0}, VOCAB)
    merged = TokenAutomaton(
        np.where(np.arange(VOCAB) < 2, 1, np.where(np.arange(VOCAB) == 2, 2, 0)).astype(np.int32),
        *(automaton.sources[:2], np.array([1, 2], dtype=np.int32), automaton.targets[:2]),
        automaton.accepting,
    )
    rows = np.full((1, VOCAB), -np.inf, dtype=np.float32)
    rows[0, :3] = [-200.0, -200.0, 0.0]

    best, sums = class_logs(rows, merged)

    assert best[0].tolist() == [-np.inf, -200.0, 0.0]
    assert sums[0, 1] == pytest.approx(-200.0 + np.log(2))


def test_large_classes_are_summed_like_small_ones() -> None:
    """Two classes of 500 tokens each."""
    rows = np.random.default_rng(0).normal(size=(3, 1001)).astype(np.float32)
    classes = np.append(0, 1 + np.arange(1000) % 2).astype(np.int32)
    edges = (np.zeros(2, dtype=np.int32), np.array([1, 2], dtype=np.int32), np.zeros(2, dtype=np.int32))

    best, sums = class_logs(rows, TokenAutomaton(classes, *edges, np.array([True])))

    for label in (1, 2):
        own = rows[:, classes == label].astype(np.float64)
        np.testing.assert_allclose(best[:, label], own.max(-1))
        np.testing.assert_allclose(sums[:, label], np.log(np.exp(own).sum(-1)), rtol=1e-5)


def test_classes_of_many_tokens_are_summed_by_threads_to_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.from_numpy(np.random.default_rng(0).normal(size=(5, 1001)).astype(np.float32))
    edges = (np.zeros(2, dtype=np.int32), np.array([1, 2], dtype=np.int32), np.zeros(2, dtype=np.int32))
    automaton = TokenAutomaton(np.append(0, 1 + np.arange(1000) % 2).astype(np.int32), *edges, np.array([True]))
    alone = ClassSums(rows, automaton, with_best=True)
    monkeypatch.setattr("app.engine.decoding.class_sums._MANY", 0)
    monkeypatch.setattr("app.engine.decoding.class_sums._NUM_AT_ONCE", 2000)

    shared = ClassSums(rows, automaton, with_best=True)

    np.testing.assert_array_equal(shared.best, alone.best)
    np.testing.assert_array_equal(shared.logs, alone.logs)
    np.testing.assert_array_equal(ClassSums(rows, automaton).best, alone.best)
    assert np.array_equal(ClassSums(rows, automaton).logs, alone.logs)
