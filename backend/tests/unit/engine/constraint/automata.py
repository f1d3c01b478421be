"""Small automata for tests, and the texts that they allow, found by trying every one."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
import torch

from app.engine.constraint.automaton import TokenAutomaton
from app.engine.decoding.class_sums import ClassSums


def automaton_of(moves: dict[tuple[int, int], int], accepting: set[int], vocab_size: int) -> TokenAutomaton:
    """Gives the automaton of edges (state, token id) -> state, in which every id that leads anywhere is a class of its
    own. States that are no use have to be left out."""
    used = sorted({token for _, token in moves})
    classes = np.zeros(vocab_size, dtype=np.int32)
    classes[used] = np.arange(1, len(used) + 1)
    num_states = max([0, *(state for state, _ in moves), *moves.values()]) + 1
    edges = sorted((state, int(classes[token]), target) for (state, token), target in moves.items())
    sources, labels, targets = (np.array(column, dtype=np.int32) for column in zip(*edges, strict=True))
    flags = np.isin(np.arange(num_states), list(accepting))
    return TokenAutomaton(classes, sources, labels, targets, flags)


def random_automaton(rng: np.random.Generator, vocab_size: int) -> TokenAutomaton | None:
    """Gives an automaton of at most six states, in which some tokens share a class; `None` where it allows nothing."""
    num_states, num_classes = int(rng.integers(1, 7)), int(rng.integers(1, 5))
    table = np.where(
        rng.random((num_states, num_classes)) < 0.6, rng.integers(num_states, size=(num_states, num_classes)), -1
    )
    accepting = rng.random(num_states) < 0.4
    useful = _reachable(table) & _alive(table, accepting)
    if not useful[0]:
        return None
    number = np.cumsum(useful) - 1
    edges = [
        (int(number[q]), c + 1, int(number[table[q, c]]))
        for q, c in product(range(num_states), range(num_classes))
        if useful[q] and table[q, c] >= 0 and useful[table[q, c]]
    ]
    sources, labels, targets = np.array(edges, dtype=np.int32).reshape(-1, 3).T
    classes = np.concatenate(
        (np.arange(num_classes + 1), rng.integers(num_classes + 1, size=vocab_size - num_classes - 1))
    )
    return TokenAutomaton(rng.permutation(classes).astype(np.int32), sources, labels, targets, accepting[useful])


def class_logs(logits: np.ndarray, automaton: TokenAutomaton) -> tuple[np.ndarray, np.ndarray]:
    """Gives the largest logit of each class, and the logarithm of the sum of their exponentials: [rows, classes]."""
    sums = ClassSums(torch.from_numpy(logits), automaton)
    return sums.best, sums.logs


def texts_of(automaton: TokenAutomaton, length: int, vocab_size: int, state: int = 0) -> Iterator[tuple[int, ...]]:
    """Gives every text of so many tokens."""
    for text in product(range(vocab_size), repeat=length):
        end = automaton.run(text, state)
        if end is not None and automaton.accepting[end]:
            yield text


def _reachable(table: np.ndarray) -> np.ndarray:
    reached = np.zeros(len(table), dtype=bool)
    reached[0] = True
    for _ in table:
        behind = table[reached]
        reached[behind[behind >= 0]] = True
    return reached


def _alive(table: np.ndarray, accepting: np.ndarray) -> np.ndarray:
    alive = accepting.copy()
    for _ in table:
        alive |= ((table >= 0) & alive[table]).any(1)
    return alive
