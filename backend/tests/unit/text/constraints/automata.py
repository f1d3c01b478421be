"""Vocabularies and walks that the tests of constraints share."""

from __future__ import annotations

import random
from itertools import product

from app.text.constraints.compiled import CompiledConstraint
from app.text.constraints.vocabulary import Vocabulary

BYTES = Vocabulary([bytes([byte]) for byte in range(256)])
"""A token for each byte, whose id it is."""


def rows_of(constraint: CompiledConstraint) -> dict[tuple[int, int], int]:
    """The state behind each (state, class)."""
    edges = zip(constraint.sources, constraint.labels, constraint.targets, strict=True)
    return {(int(source), int(label)): int(target) for source, label, target in edges}


def accepts(constraint: CompiledConstraint, tokens: list[int]) -> bool:
    """Whether the automaton accepts a sequence of tokens."""
    rows = rows_of(constraint)
    state = 0
    for token in tokens:
        found = rows.get((state, int(constraint.classes[token])))
        if found is None:
            return False
        state = found
    return bool(constraint.accepting[state])


def accepts_text(constraint: CompiledConstraint, text: str) -> bool:
    """Whether an automaton over BYTES accepts a text."""
    return accepts(constraint, list(text.encode()))


def texts_over(letters: str, length: int) -> list[str]:
    """All texts of at most a length over some letters."""
    return ["".join(text) for size in range(length + 1) for text in product(letters, repeat=size)]


def walk(constraint: CompiledConstraint, chance: random.Random, longest: int = 60) -> bytes:
    """A random text that an automaton over BYTES accepts; once it is longest, it takes the shortest way to an end."""
    rows = rows_of(constraint)
    steps: dict[int, list[tuple[int, int]]] = {}
    for (state, label), target in rows.items():
        steps.setdefault(state, []).append((label, target))
    tokens = {label: (constraint.classes == label).nonzero()[0].tolist() for _, label in rows}
    distance = distances(constraint)
    state, text = 0, b""
    while not (constraint.accepting[state] and (state not in steps or chance.random() < 0.3 or len(text) > longest)):
        following = steps[state]
        if len(text) > longest:
            following = [step for step in following if distance[step[1]] < distance[state]]
        label, state = chance.choice(following)
        text += bytes([chance.choice(tokens[label])])
    return text


def distances(constraint: CompiledConstraint) -> list[int]:
    """The least number of tokens from each state to an accepting one."""
    before: dict[int, list[int]] = {}
    for source, target in zip(constraint.sources.tolist(), constraint.targets.tolist(), strict=True):
        before.setdefault(target, []).append(source)
    distance = [0 if accepting else 10**9 for accepting in constraint.accepting]
    queue = [state for state, accepting in enumerate(constraint.accepting) if accepting]
    for state in queue:
        for source in before.get(state, []):
            if distance[source] == 10**9:
                distance[source] = distance[state] + 1
                queue.append(source)
    return distance
