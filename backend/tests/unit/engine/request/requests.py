"""Requests of every family, drawn at random or made to order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import strategies as st

from app.engine.families.dreamon import DREAMON
from app.engine.interface.params import DecodingParams, GenerationRequest
from tests.profiles import examples
from tests.unit.engine.oracle import (
    EOS,
    EXPAND,
    MASK,
    TURN,
    Oracle,
)

seeds = st.integers(0, 2**32)
STARTING_MASKS = DREAMON.span.first_length(DecodingParams(2048), 2048)
"""The starting masks of a request of dreamon that names none."""
texts = st.lists(st.integers(4, 23), max_size=9).map(tuple)
shared = {
    "max_new_tokens": st.integers(1, 30),
    "steps": st.none() | st.integers(1, 20),
    "seed": seeds,
    "repetition_penalty": st.sampled_from([1.0, 1.2]),
    "end_of_turn": st.sampled_from([None, TURN]),
}
lengths = st.sampled_from([(), (3,), (2, 5, 9), (4, 1)])
params_of = {
    "llada": st.builds(
        DecodingParams,
        **shared,
        block_length=st.none() | st.integers(1, 8),
        algorithm=st.sampled_from([None, "random"]),
        confidence_threshold=st.none() | st.floats(0.1, 1),
        cfg_scale=st.sampled_from([0.0, 1.0]),
        mask_lengths=lengths,
    ),
    "dream": st.builds(
        DecodingParams,
        **shared,
        algorithm=st.sampled_from([None, "origin"]),
        alg_temp=st.sampled_from([0.0, 0.5]),
        mask_lengths=lengths,
    ),
    "dreamon": st.builds(
        DecodingParams,
        **shared,
        alg_temp=st.sampled_from([0.0, 0.5]),
        expand_budget=st.none() | st.integers(0, 6),
        pad_delete_to_right=st.booleans(),
    ),
}
FAMILIES = tuple(params_of)
families = pytest.mark.parametrize("family", FAMILIES)
few = examples(40)
FAVOURITES = {"llada": (EOS, TURN), "dream": (EOS, TURN, MASK), "dreamon": (EOS, EXPAND, EXPAND, TURN)}


def oracle_for(family: str, seed: int, devotion: float = 0.1) -> Oracle:
    """Ends the text now and then, and lengthens or shortens the canvas where the family can."""
    return Oracle(seed, FAVOURITES[family], devotion)


@st.composite
def requests(draw: st.DrawFn, family: str) -> GenerationRequest:
    return GenerationRequest(
        "r", draw(texts), draw(texts), draw(params_of[family]), open_ended=draw(st.booleans()), snapshots=True
    )


def request_of(max_new_tokens: int, *, prefix: Sequence[int] = (5, 6), **options: Any) -> GenerationRequest:
    return GenerationRequest("r", tuple(prefix), (), DecodingParams(max_new_tokens), **options)
