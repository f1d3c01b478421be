"""Positions at which a constraint leaves no choice, beside all texts one by one."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import numpy as np
import pytest

from app.engine.constraint.automaton import TokenAutomaton
from app.engine.constraint.forced import forced_layers
from app.engine.constraint.graph import FREE, OPEN, LayeredGraph
from app.engine.constraint.lattice import Lattice
from app.engine.engine import Engine
from app.engine.interface.config import EngineConfig
from app.engine.interface.events import EngineEvent, Step
from app.engine.interface.params import DecodingParams, GenerationRequest
from app.engine.passes.runner import ModelRunner
from app.engine.request.state import RequestState
from tests.unit.engine.constraint.automata import automaton_of, random_automaton, texts_of

VOCAB, LENGTH = 6, 4
CHANGES = [(False, False), (True, False), (False, True), (True, True)]
Text = tuple[int, ...]


def _canvas(seed: int) -> tuple[TokenAutomaton, list[int | None], list[int]]:
    """An automaton, the tokens of a canvas of which some are committed, and its layers."""
    while True:
        rng, seed = np.random.default_rng(seed), seed + 1000
        automaton = random_automaton(rng, VOCAB)
        if automaton is not None and automaton.accepting_in(LENGTH)[0]:
            break
    texts = list(texts_of(automaton, LENGTH, VOCAB))
    example = texts[int(rng.integers(len(texts)))]
    tokens = [token if rng.random() < 0.4 else None for token in example]
    layers = [
        (OPEN if rng.random() < 0.8 else FREE) if token is None else int(automaton.classes[token]) for token in tokens
    ]
    return automaton, tokens, layers


def _rests(automaton: TokenAutomaton, tokens: list[int | None], first: int, state: int) -> list[Text]:
    """The texts that fit the canvas from its position `first` on."""
    rest = tokens[first:]
    return [
        text
        for text in texts_of(automaton, len(rest), VOCAB, state)
        if all(there is None or there == token for token, there in zip(text, rest, strict=True))
    ]


def _may_have_instead(automaton: TokenAutomaton, tokens: list[int | None], position: int, count: int) -> bool:
    """Whether so many tokens may stand in place of one, behind a beginning that also fits without the change."""
    for text in _rests(automaton, tokens, 0, 0):
        state = automaton.run(text[:position])
        for instead in product(range(VOCAB), repeat=count):
            behind = None if state is None else automaton.run(instead, state)
            if behind is not None and _rests(automaton, tokens, position + 1, behind):
                return True
    return False


@pytest.mark.parametrize("seed", range(40))
def test_a_position_is_forced_where_all_texts_that_fit_have_the_same_token(seed: int) -> None:
    automaton, tokens, layers = _canvas(seed)
    texts = _rests(automaton, tokens, 0, 0)
    open_positions = [position for position, layer in enumerate(layers) if layer == OPEN]
    everywhere = Lattice(automaton, 0, tuple(layers), automaton.accepting, tuple(range(len(open_positions))))
    before = LayeredGraph(automaton, 0, [OPEN] * LENGTH, automaton.accepting, with_changes=True)
    for may_delete, may_expand in CHANGES:
        expected = [
            len({text[position] for text in texts}) == 1
            and not (may_delete and _may_have_instead(automaton, tokens, position, 0))
            and not (may_expand and _may_have_instead(automaton, tokens, position, 2))
            for position in open_positions
        ]
        # By a graph of its own, and by one of a time when nothing was committed.
        for known in (None, before):
            lattice = Lattice(
                automaton, 0, everywhere.layers, everywhere.ends, everywhere.rows, known, changes_length=True
            )
            assert forced_layers(lattice, may_delete=may_delete, may_expand=may_expand) == expected
    assert forced_layers(everywhere) == [len({text[position] for text in texts}) == 1 for position in open_positions]


def _steps(runner: ModelRunner, constraint: TokenAutomaton | None, params: DecodingParams) -> list[Step]:
    request = GenerationRequest("r", (5, 6), (), params, snapshots=True, num_logprobs=0, constraint=constraint)
    events: list[EngineEvent] = []
    engine = Engine(runner, EngineConfig())
    engine.add(RequestState(request, runner.model.config, events.append))
    while engine.has_work:
        engine.step()
    return [event for event in events if isinstance(event, Step)]


@pytest.mark.parametrize("name", ["llada-tiny", "dream-tiny", "dreamon-tiny", "sdar-tiny", "fast-dllm-v2-tiny"])
def test_forced_tokens_are_reported_where_they_are_committed(runners: Mapping[str, ModelRunner], name: str) -> None:
    """The texts 10 11 12 and 10 13 12 have a choice in their middle."""
    runner = runners[name]
    moves = {(0, 10): 1, (1, 11): 2, (1, 13): 2, (2, 12): 3}
    constraint = automaton_of(moves, {3}, runner.model.config.vocab_size)

    steps = _steps(runner, constraint, DecodingParams(3))

    assert _commits(steps) == {0: True, 1: False, 2: True}
    assert [each.forced for step in steps for each in step.logprobs] == [True, False, True]


def test_an_end_token_that_is_not_scored_is_forced_too(runners: Mapping[str, ModelRunner]) -> None:
    runner = runners["llada-tiny"]
    constraint = automaton_of({(0, 10): 1}, {1}, runner.model.config.vocab_size)

    steps = _steps(runner, constraint, DecodingParams(2, eos_last=True, run_to_end=True))

    assert _commits(steps) == {0: True, 1: True}


def test_without_a_constraint_nothing_is_said_of_it(runners: Mapping[str, ModelRunner]) -> None:
    steps = _steps(runners["llada-tiny"], None, DecodingParams(3))

    assert {None if step.snapshot is None else step.snapshot.forced for step in steps} == {None}
    assert {each.forced for step in steps for each in step.logprobs} == {None}


def _commits(steps: list[Step]) -> dict[int, bool]:
    """Whether each commit was forced."""
    return {
        commit.index: commit.index in (step.snapshot.forced or ())
        for step in steps
        if step.snapshot is not None
        for commit in step.snapshot.commits
    }
