"""A default block length gives way to what a constraint lets a step predict; one that is asked for is not changed."""

from __future__ import annotations

from typing import Any

import pytest

from app.engine.interface.params import DecodingParams
from app.services.diffusion.base import Prepared
from app.services.diffusion.models import DiffusionGenerationParams
from app.services.diffusion.native.engine_request import engine_request
from app.text.prompt import PromptIds
from tests.unit.engine.constraint.automata import automaton_of
from tests.unit.engine.oracle import config_of


@pytest.mark.parametrize(
    ("asked", "default", "expected"),
    [({}, 32, 5), ({}, 4, 4), ({}, None, None), ({"block_length": 32}, 32, 32)],
)
def test_blocks_by_default_are_no_longer_than_a_constraint_lets_them(
    monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any], default: int | None, expected: int | None
) -> None:
    monkeypatch.setattr("app.engine.constraint.footprint._MAX_EDGES", 10)
    two_edges = automaton_of({(0, 4): 0, (0, 5): 0}, {0}, 8)
    params = DiffusionGenerationParams(text="a", max_length=40, **asked)
    prepared = Prepared(params, DecodingParams(40, block_length=default))
    prompt = PromptIds((4,), (), 1)
    constrained = engine_request("a", prepared, prompt, config_of("llada"), automaton=two_edges)
    assert constrained.params.block_length == expected
    assert engine_request("a", prepared, prompt, config_of("llada")).params.block_length == default
