"""The block-causal families as models of the service, from small checkpoints in their published files."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.engine.interface.config import EngineConfig
from app.engine.interface.errors import InvalidRequest
from app.engine.interface.params import DecodingParams
from app.engine.request.validation import validate_params
from app.services.diffusion.errors import InvalidParameters, UnsupportedOperation
from app.services.diffusion.families.registry import text_family
from app.services.diffusion.model_events import Ended, Piece
from app.services.diffusion.models import (
    ChatMessage,
    DiffusionChatParams,
    DiffusionGenerationParams,
    DiffusionInfillingParams,
    Params,
)
from app.services.diffusion.native.decoding import decoding_params
from app.services.diffusion.native.native import NativeDiffusionModel
from tests import conformance

CHECKPOINTS = {
    "sdar": "sdar-tiny", "stable_diffcoder": "stable-diffcoder-tiny", "fast_dllm_v2": "fast-dllm-v2-tiny",
}  # fmt: skip
FOLDER = Path(conformance.__path__[0]) / "vectors" / "block"


@pytest.fixture(scope="module", params=CHECKPOINTS)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def model(family: str) -> AsyncIterator[NativeDiffusionModel]:
    model = NativeDiffusionModel("mine", location=str(FOLDER / CHECKPOINTS[family]), config=EngineConfig(device="cpu"))
    assert await model.initialize(), model.problem
    yield model
    await model.close()


def asking(**given: Any) -> DiffusionGenerationParams:
    return DiffusionGenerationParams(**{"text": "Once upon a time", "max_length": 9, "seed": 1, **given})


async def answer(model: NativeDiffusionModel, params: Params) -> tuple[str, str]:
    """The text, and what ended it."""
    events = [event async for event in model.prepared_stream(model.prepare_request(params))]
    (end,) = (event for event in events if isinstance(event, Ended))
    return "".join(event.text for event in events if isinstance(event, Piece)), str(end.finish_reason)


async def test_it_continues_and_chats_and_fills_no_gap(model: NativeDiffusionModel) -> None:
    assert model.capabilities == ("generate", "chat", "read", "constrain")
    params = asking(ignore_eos=True)
    text, reason = await answer(model, params)
    assert (bool(text), reason) == (True, "length")
    gap: dict[str, Any] = {"prefix": params.text, "max_length": 9, "seed": 1, "ignore_eos": True}
    assert await answer(model, DiffusionInfillingParams(**gap)) == (text, reason)
    with pytest.raises(UnsupportedOperation, match="model 'mine' cannot infill: it sees no text behind a gap"):
        model.prepare_request(DiffusionInfillingParams(**gap, suffix="x"))
    turns = [ChatMessage(role="user", content="Hi")]
    assert (await answer(model, DiffusionChatParams(messages=turns, max_length=5, seed=1, ignore_eos=True)))[0]


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ({"cfg_scale": 1.0}, "cfg_scale=1.0 has no meaning for {} models; leave it out"),
        ({"initial_masks": 4}, "initial_masks=4 has no meaning for {} models; leave it out"),
        ({"revoke_threshold": 0.5, "confidence_threshold": 0.9}, "revoke_threshold=0.5 has no meaning for {} models"),
        ({"cache": "dual"}, "cache='dual' has no meaning for {} models; leave it out"),
        ({"cache": "prefix", "cache_refresh": 2}, "cache='prefix' has no meaning for {} models; leave it out"),
        ({"steps": 4, "steps_per_block": 2}, "steps=4 and steps_per_block=2 exclude each other; leave one out"),
        ({"algorithm": "entropy"}, "algorithm='entropy' is unknown to model 'mine'"),
    ],
)
async def test_what_has_no_meaning_is_refused_by_name(
    model: NativeDiffusionModel, family: str, given: dict[str, Any], refused: str
) -> None:
    with pytest.raises(InvalidParameters, match=re.escape(refused.format(family))):
        model.prepare_request(asking(**given))


async def test_a_block_that_is_longer_than_the_context_is_refused_before_it_waits(model: NativeDiffusionModel) -> None:
    assert model._loaded is not None
    config = replace(model._loaded.config, context_length=16)
    validate_params(DecodingParams(8, block_length=16), config)
    with pytest.raises(InvalidRequest, match="block_length=17 is above the context of 16 tokens; the checkpoint was"):
        validate_params(DecodingParams(8, block_length=17), config)


async def test_only_one_family_has_sub_blocks(model: NativeDiffusionModel, family: str) -> None:
    params = asking(sub_block_length=4)
    if family == "fast_dllm_v2":
        assert (await answer(model, params))[1] in ("stop", "length")
    else:
        with pytest.raises(InvalidParameters, match="sub_block_length=4 has no meaning"):
            model.prepare_request(params)
    reported = model.details().parameters
    assert {"block_length", "steps_per_block", "confidence_threshold"} <= reported.keys()
    assert ("sub_block_length" in reported) == (family == "fast_dllm_v2")
    assert not {"cfg_scale", "initial_masks", "revoke_threshold"} & reported.keys()


@pytest.mark.parametrize(
    ("given", "threshold"),
    [
        ({}, None),
        ({"decoding": "exact"}, None),
        ({"decoding": "balanced"}, 0.95),
        ({"decoding": "fast"}, 0.9),
        ({"decoding": "fast", "confidence_threshold": 0.7}, 0.7),
        ({"decoding": "fast", "steps_per_block": 2}, None),
        ({"decoding": "fast", "steps": 2}, None),
        ({"decoding": "fast", "algorithm": "sequential"}, None),
        ({"decoding": "fast", "entropy_bound": 0.1}, None),
    ],
)
def test_a_preset_is_a_threshold_that_gives_way(family: str, given: dict[str, Any], threshold: float | None) -> None:
    decoding = decoding_params(text_family(family), asking(**given))
    assert (decoding.confidence_threshold, decoding.cache, decoding.block_length) == (threshold, "none", None)
