"""Sums, best paths and draws over a lattice, beside all texts one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from app.engine.constraint.automaton import TokenAutomaton
from app.engine.constraint.graph import FREE, OPEN
from app.engine.constraint.lattice import Lattice, Paths
from app.engine.constraint.posterior import Posterior
from tests.unit.engine.constraint.automata import class_logs, random_automaton, texts_of

VOCAB = 6


def _cases(count: int, length: int) -> list[tuple[TokenAutomaton, np.ndarray, np.random.Generator]]:
    cases: list[tuple[TokenAutomaton, np.ndarray, np.random.Generator]] = []
    seed = 0
    while len(cases) < count:
        rng, seed = np.random.default_rng(seed), seed + 1
        automaton = random_automaton(rng, VOCAB)
        if automaton is not None and automaton.accepting_in(length)[0]:
            cases.append((automaton, (rng.normal(size=(length, VOCAB)) * 3).astype(np.float32), rng))
    return cases


def _lattice(automaton: TokenAutomaton, layers: Sequence[int]) -> Lattice:
    rows = tuple(index for index, layer in enumerate(layers) if layer == OPEN)
    return Lattice(automaton, 0, tuple(layers), automaton.accepting, rows)


def _weight(text: Sequence[int], logits: np.ndarray) -> float:
    return float(np.exp(logits[np.arange(len(text)), list(text)].astype(np.float64).sum()))


@pytest.mark.parametrize(("automaton", "logits", "rng"), _cases(40, 4))
def test_the_probability_of_each_class_is_that_of_all_texts_that_have_it(
    automaton: TokenAutomaton, logits: np.ndarray, rng: np.random.Generator
) -> None:
    expected = np.zeros((4, automaton.num_classes))
    for text in texts_of(automaton, 4, VOCAB):
        for row, token in enumerate(text):
            expected[row, automaton.classes[token]] += _weight(text, logits)
    _, sums = class_logs(logits, automaton)

    shares = Posterior(_lattice(automaton, [OPEN] * 4), sums).class_probabilities

    np.testing.assert_allclose(shares, expected / expected.sum(-1, keepdims=True), atol=1e-6)


@pytest.mark.parametrize(("automaton", "logits", "rng"), _cases(40, 4))
def test_the_best_path_spells_the_most_probable_text(
    automaton: TokenAutomaton, logits: np.ndarray, rng: np.random.Generator
) -> None:
    best_text = max(texts_of(automaton, 4, VOCAB), key=lambda text: _weight(text, logits))
    best, _ = class_logs(logits, automaton)

    classes = Paths(_lattice(automaton, [OPEN] * 4), best).best_classes()

    assert classes == [int(automaton.classes[token]) for token in best_text]


@pytest.mark.parametrize(("automaton", "logits", "rng"), _cases(40, 4))
def test_committed_tokens_and_free_masks_leave_what_fits_them(
    automaton: TokenAutomaton, logits: np.ndarray, rng: np.random.Generator
) -> None:
    """One position committed, one open, and two whose distributions are not known."""
    texts = list(texts_of(automaton, 4, VOCAB))
    committed, is_open = rng.permutation(4)[:2]
    example = texts[int(rng.integers(len(texts)))]
    layers = [FREE] * 4
    layers[committed], layers[is_open] = int(automaton.classes[example[committed]]), OPEN
    possible = {
        text[is_open] for text in texts if automaton.classes[text[committed]] == automaton.classes[example[committed]]
    }
    lattice = _lattice(automaton, layers)
    _, sums = class_logs(logits[[is_open]], automaton)

    shares = Posterior(lattice, sums).class_probabilities[0]

    assert lattice.is_possible
    assert {int(c) for c in np.flatnonzero(shares)} <= {int(automaton.classes[token]) for token in possible}


@pytest.mark.parametrize(("automaton", "logits", "rng"), _cases(3, 3))
def test_texts_are_drawn_as_often_as_they_are_probable(
    automaton: TokenAutomaton, logits: np.ndarray, rng: np.random.Generator
) -> None:
    """Pearson's statistic of 4,000 draws over sequences of classes; one in a million is this far off by chance."""
    weights: dict[tuple[int, ...], float] = {}
    for text in texts_of(automaton, 3, VOCAB):
        key = tuple(int(automaton.classes[token]) for token in text)
        weights[key] = weights.get(key, 0.0) + _weight(text, logits)
    total, count = sum(weights.values()), 4000
    _, sums = class_logs(logits, automaton)
    posterior = Posterior(_lattice(automaton, [OPEN] * 3), sums)

    drawn = [tuple(posterior.draw(rng.random(3).tolist())[0]) for _ in range(count)]

    assert set(drawn) <= set(weights)
    likely = [key for key, weight in weights.items() if count * weight / total >= 5]
    statistic = sum(
        (drawn.count(key) - count * weights[key] / total) ** 2 / (count * weights[key] / total) for key in likely
    )
    freedom = max(len(likely), 1)
    assert statistic < freedom + 5 * np.sqrt(2 * freedom) + 25


def test_what_is_left_of_a_draw_is_uniform_again() -> None:
    rng = np.random.default_rng(1)
    automaton, logits, _ = _cases(1, 4)[0]
    _, sums = class_logs(logits, automaton)
    posterior = Posterior(_lattice(automaton, [OPEN] * 4), sums)

    rests = np.array([posterior.draw(rng.random(4).tolist())[1] for _ in range(1000)])

    assert np.abs(rests.mean(0) - 0.5).max() < 0.05
    assert ((rests >= 0) & (rests < 1)).all()


def test_logits_a_thousand_apart_lose_no_text() -> None:
    automaton = _cases(1, 4)[0][0]
    text = next(texts_of(automaton, 4, VOCAB))
    steep = np.full((4, VOCAB), 1000.0, dtype=np.float32)
    for row, token in enumerate(text):  # the only text, and the least probable tokens
        same = automaton.classes == automaton.classes[token]
        steep[row, same] = -1000.0
    lattice = _lattice(automaton, [OPEN] * 4)
    _, sums = class_logs(steep, automaton)

    posterior = Posterior(lattice, sums)

    assert np.isfinite(posterior.class_probabilities).all()
    np.testing.assert_allclose(posterior.class_probabilities.sum(-1), 1.0)


def _logs_of_classes(automaton: TokenAutomaton, logits: np.ndarray) -> np.ndarray:
    """The logarithm of the weight of all texts that have each class at each position."""
    logs = np.full((4, automaton.num_classes), -np.inf)
    for text in texts_of(automaton, 4, VOCAB):
        log = float(logits[np.arange(4), list(text)].astype(np.float64).sum())
        for row, token in enumerate(text):
            label = automaton.classes[token]
            logs[row, label] = np.logaddexp(logs[row, label], log)
    return logs


@pytest.mark.parametrize(("automaton", "logits", "rng"), _cases(12, 4))
def test_distributions_too_sharp_for_plain_probabilities_are_summed_exactly(
    automaton: TokenAutomaton, logits: np.ndarray, rng: np.random.Generator
) -> None:
    """Logits hundreds apart: the least of the probabilities is below what float64 can hold."""
    sharp = logits * 100
    logs = _logs_of_classes(automaton, sharp)
    _, sums = class_logs(sharp, automaton)

    shares = Posterior(_lattice(automaton, [OPEN] * 4), sums).class_probabilities

    np.testing.assert_allclose(shares, np.exp(logs - np.logaddexp.reduce(logs[0])), atol=1e-4)


@pytest.mark.parametrize(("automaton", "logits", "rng"), _cases(12, 4))
def test_kinds_that_are_impossible_have_no_share_of_a_sharp_distribution(
    automaton: TokenAutomaton, logits: np.ndarray, rng: np.random.Generator
) -> None:
    for kind in range(automaton.moves.num_kinds):
        banned, sharp = automaton.moves.classes_of_kind(kind), logits * 100
        _, sums = class_logs(sharp, automaton)
        sums[:, banned] = -np.inf
        sharp[:, np.isin(automaton.classes, banned)] = -np.inf
        posterior = Posterior(_lattice(automaton, [OPEN] * 4), sums)
        if posterior.is_possible:
            logs = _logs_of_classes(automaton, sharp)
            expected = np.exp(logs - np.logaddexp.reduce(logs[0]))
            np.testing.assert_allclose(posterior.class_probabilities, expected, atol=1e-4)


@pytest.mark.parametrize(("automaton", "logits", "rng"), _cases(12, 4))
def test_a_graph_built_before_a_commit_says_the_same_as_one_built_after_it(
    automaton: TokenAutomaton, logits: np.ndarray, rng: np.random.Generator
) -> None:
    before = _lattice(automaton, [OPEN] * 4)
    text = next(texts_of(automaton, 4, VOCAB))
    layers = [OPEN, int(automaton.classes[text[1]]), OPEN, OPEN]
    best, sums = class_logs(logits[[0, 2, 3]], automaton)
    after = _lattice(automaton, layers)

    known = Posterior(replace(after, known=before.graph), sums)

    np.testing.assert_allclose(known.class_probabilities, Posterior(after, sums).class_probabilities)
    assert Paths(replace(after, known=before.graph), best).best_classes() == Paths(after, best).best_classes()
