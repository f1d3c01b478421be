"""The automata of cached constraints count in the cache, and are shared by checkpoints of one vocabulary."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from app.engine.constraint.footprint import most_bytes
from app.services.diffusion.constraint import Constraint
from app.services.diffusion.native import constraint as module
from app.services.diffusion.native.constraint import Constraints
from app.text.constraints.cache import ConstraintCache
from app.text.tokenizer import Tokenizer
from tests.unit.engine.oracle import config_of

VECTORS = Path(__file__).parents[4] / "conformance" / "vectors"


@pytest.fixture
def constraints() -> Constraints:
    tokenizer = Tokenizer.load(VECTORS / "llada-tiny")
    return Constraints(tokenizer, replace(config_of("llada"), vocab_size=tokenizer.vocab_size))


def test_an_automaton_counts_in_the_cache(constraints: Constraints, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = ConstraintCache(size_of=module._bytes_held)
    monkeypatch.setattr(module, "_CACHE", cache)
    automaton = asyncio.run(constraints.automaton(Constraint(regex="[ab]{1,9}")))
    assert cache.nbytes > most_bytes(automaton)


def test_checkpoints_of_one_vocabulary_share_an_automaton(constraints: Constraints) -> None:
    other = Constraints(constraints._tokenizer, constraints._config)
    asked = Constraint(choices=["aba", "ab"])
    assert asyncio.run(constraints.automaton(asked)) is asyncio.run(other.automaton(asked))
